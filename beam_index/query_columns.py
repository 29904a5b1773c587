"""Columns of a file of queries: which there must be, and of which types.

An input beside the history without a column is an error, not a missing value everywhere: such queries
would observe other codes than those that are served. Who knows nothing of it adds a column of nulls.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from beam_index.parquet import is_list_of, open_parquet
from protos.errors import UserError
from protos.query_inputs import HISTORY, RELEVANT, QueryInput

_VALUES = {"string": pa.string(), "float32": pa.float32()}

Batch = pa.RecordBatch | pa.Table


def column_names(inputs: Sequence[QueryInput]) -> list[str]:
    """The columns that queries are encoded from: the history first."""
    return [HISTORY, *(each.name for each in inputs)]


def column_type(each: QueryInput) -> pa.DataType:
    """The type of the column of an input."""
    kind = _VALUES[each.dtype]
    for _ in range(each.rank - 1):
        kind = pa.list_(kind)
    return kind


def open_queries(path: pathlib.Path, inputs: Sequence[QueryInput], cure: str) -> pq.ParquetFile:
    """Opens a file of queries, a context manager.

    Args:
      path: of the file.
      inputs: that the queries must bring beside their histories.
      cure: what errors say to do.

    Raises:
      UserError: there is no such file, or a column is missing or of another type.
    """
    file = open_parquet(path, where(path), cure)
    try:
        require_columns(file.schema_arrow, inputs, where(path), cure)
    except UserError:
        file.close()
        raise
    return file


def where(path: pathlib.Path) -> str:
    """What errors call a file of queries."""
    return f"queries file {path} (--queries)"


def require_columns(schema: pa.Schema, inputs: Sequence[QueryInput], source: str, cure: str) -> None:
    """Raises UserError where a column of queries from a source is missing or of another type."""
    if HISTORY not in schema.names:
        raise UserError(f"{source} has the columns {schema.names}; expected a column {HISTORY!r}; {cure}")
    for name in [name for name in (HISTORY, RELEVANT) if name in schema.names]:
        kind = schema.field(name).type
        if not is_list_of(kind, pa.string()):
            raise UserError(f"{source}: column {name!r} is {kind}; expected list<string>; {cure}")
    for each in inputs:
        _require_column(schema, each, source)


def _require_column(schema: pa.Schema, each: QueryInput, source: str) -> None:
    expected = column_type(each)
    if each.name not in schema.names:
        raise UserError(
            f"{source} has the columns {schema.names}; the model's queries bring {each.name!r} too, a {each.kind} of"
            f" the {each.place}: expected a column of {expected}, null where nothing is known"
        )
    found = schema.field(each.name).type
    if not _will_do(found, expected):
        raise UserError(f"{source}: column {each.name!r} is {found}; expected {expected} ({each.kind})")


def typed(column: pa.Array | pa.ChunkedArray, each: QueryInput) -> pa.Array | pa.ChunkedArray:
    """A column of the type that it should have, of one that will do; whole numbers are categories by name."""
    return column.cast(column_type(each), safe=False)


def _will_do(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether a column can be read as another type without looking at its values."""
    if pa.types.is_null(found):
        return True
    if pa.types.is_list(expected):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
        return is_list and _will_do(found.value_type, expected.value_type)
    if expected == pa.string():
        return pa.types.is_string(found) or pa.types.is_large_string(found) or _is_whole(found)
    return pa.types.is_floating(found) or _is_whole(found)


def _is_whole(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_boolean(kind)
