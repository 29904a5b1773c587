"""JSON lines in batches, with types that hold for all of a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.json

from trainer.data.schema.files import DataFile
from trainer.data.schema.spec import Source

# Arrow takes the columns and types of the first block for those of the whole file.
_READ = pyarrow.json.ReadOptions(block_size=64 << 20)


def column_names(file: DataFile) -> list[str]:
    """The keys of the first 64 MB."""
    return _seen(file).names


def read_batches(file: DataFile, source: Source, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The columns asked for; other keys may come and go.

    What the first block shows is widened, so that later rows may have fractions, times of another layout, or values
    where it had none; where the source does not say what its columns hold, it is taken as it is.
    """
    amounts, parsing = source.amounts(), None
    if amounts is not None:
        seen = _seen(file)
        wanted = pa.schema([(name, _widened(seen.field(name).type, name in amounts)) for name in columns])
        parsing = pyarrow.json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
    with file.stream() as opened, pyarrow.json.open_json(opened, _READ, parsing) as reader:
        yield from (batch.select(list(columns)) for batch in reader)


def _seen(file: DataFile) -> pa.Schema:
    with file.stream() as opened, pyarrow.json.open_json(opened, _READ) as reader:
        return reader.schema


def _widened(kind: pa.DataType, is_amount: bool) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_widened(kind.value_type, is_amount))
    if is_amount and (pa.types.is_integer(kind) or pa.types.is_null(kind)):
        return pa.float64()
    return pa.string() if pa.types.is_temporal(kind) or pa.types.is_null(kind) else kind
