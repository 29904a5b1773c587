"""Reads a file of any format in batches of rows, with the number that each row has in its file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from protos.errors import UserError
from trainer.data.schema import json_lines, tfrecords
from trainer.data.schema.files import DataFile, is_blank
from trainer.data.schema.separators import UNUSED, OneCharacter, quote_of
from trainer.data.schema.spec import Source

BATCH_ROWS = 65_536
_BLOCK_BYTES = 4 << 20


class Rows(NamedTuple):
    """Some rows of a file.

    Attributes:
      file: that they are of.
      numbers: `[N]` int64: 1 is the file's first row, below a header line if it has one.
      columns: arrays of N entries by name, of whatever type the file has; text of CSV, with "" as null.
    """

    file: DataFile
    numbers: np.ndarray
    columns: Mapping[str, pa.Array]

    def only(self, chosen: pa.Array) -> Rows:
        """The rows for which `chosen`, `[N]` bool, is true."""
        columns = {name: values.filter(chosen) for name, values in self.columns.items()}
        return Rows(self.file, self.numbers[np.asarray(chosen)], columns)


class Malformed(NamedTuple):
    """A row that has too few or too many fields, and so is none.

    Attributes:
      number: as in Rows.
      found: what is wrong with it.
    """

    number: int
    found: str


def column_names(file: DataFile, source: Source) -> list[str]:
    """The columns of a file; none where it is empty and so cannot tell them.

    Raises:
      UserError: it cannot be read.
    """
    try:
        if is_blank(file, has_header=not source.names):
            return []
        return _FORMATS[file.format][0](file, source)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        _refuse(file, source, error)


def read_rows(
    file: DataFile, source: Source, columns: Sequence[str], on_malformed: Callable[[Malformed], None]
) -> Iterator[Rows]:
    """The rows of a file, in order, a batch at a time; memory is that of a batch.

    Args:
      file: to be read.
      source: how.
      columns: to be read, all of which the file has.
      on_malformed: is told of each row that is none.

    Raises:
      UserError: the file cannot be read.
    """
    try:
        yield from _FORMATS[file.format][1](file, source, columns, on_malformed)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        _refuse(file, source, error)


def _refuse(file: DataFile, source: Source, error: Exception) -> NoReturn:
    cure = ""
    if file.is_text and ("UTF8" in str(error) or isinstance(error, UnicodeDecodeError)):
        cure = f"; it is not {source.encoding} text: set `encoding`, such as latin-1, or save it as UTF-8"
    raise UserError(f"{file.label} cannot be read as {file.format}: {error}{cure}") from error


def _numbered(file: DataFile, batches: Iterator[pa.RecordBatch]) -> Iterator[Rows]:
    first = 1
    for batch in batches:
        numbers = np.arange(first, first + batch.num_rows)
        first += batch.num_rows
        yield Rows(file, numbers, dict(zip(batch.schema.names, batch.columns, strict=True)))


def _parquet_names(file: DataFile, _: Source) -> list[str]:
    with file.random_access() as opened:
        return pq.read_schema(opened).names


def _parquet(file: DataFile, _: Source, columns: Sequence[str], __: Callable) -> Iterator[Rows]:
    with file.random_access() as opened:
        yield from _numbered(file, pq.ParquetFile(opened).iter_batches(BATCH_ROWS, columns=list(columns)))


def _json_names(file: DataFile, _: Source) -> list[str]:
    return json_lines.column_names(file)


def _json(file: DataFile, source: Source, columns: Sequence[str], __: Callable) -> Iterator[Rows]:
    yield from _numbered(file, json_lines.read_batches(file, source, columns))


def _csv_names(file: DataFile, source: Source) -> list[str]:
    if source.names:
        return list(source.names)
    with file.stream() as opened:
        return _open_csv(opened, file, source, None, lambda row: "skip").schema.names


def _csv(
    file: DataFile, source: Source, columns: Sequence[str], on_malformed: Callable[[Malformed], None]
) -> Iterator[Rows]:
    header, skipped = not source.names, []

    def skip(row: pyarrow.csv.InvalidRow) -> str:
        skipped.append(row.number - header)
        found = f"{row.actual_columns} fields, expected {row.expected_columns}: {row.text[:120]!r}"
        on_malformed(Malformed(skipped[-1], found))
        return "skip"

    with file.stream() as opened:
        for rows in _numbered(file, _open_csv(opened, file, source, columns, skip)):
            yield rows._replace(numbers=_past(rows.numbers, skipped))


def _past(numbers: np.ndarray, skipped: Sequence[int]) -> np.ndarray:
    """The places in the file of the rows that are 1st, 2nd, ... without those that were skipped."""
    # A row that had i rows skipped before it is moved by i.
    edges = np.array(skipped, np.int64) - np.arange(len(skipped))
    return numbers + np.searchsorted(edges, numbers, side="right")


def _open_csv(
    opened: pa.NativeFile, file: DataFile, source: Source, columns: Sequence[str] | None, skip: Callable
) -> pyarrow.csv.CSVStreamingReader:
    separator = source.separator or ("\t" if file.format == "tsv" else ",")
    several, quote = len(separator) > 1, quote_of(separator, source.quote)
    if several:
        opened = pa.PythonFile(io.BufferedReader(OneCharacter(opened, separator.encode(source.encoding))), "r")
    return pyarrow.csv.open_csv(
        opened,
        # Threads would not know the numbers of rows.
        pyarrow.csv.ReadOptions(
            use_threads=False, block_size=_BLOCK_BYTES, column_names=source.names or None, encoding=source.encoding
        ),
        pyarrow.csv.ParseOptions(
            delimiter=UNUSED if several else separator,
            quote_char=quote or False,
            newlines_in_values=quote is not None,
            invalid_row_handler=skip,
        ),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns or (), pa.string()),
            include_columns=list(columns or ()) or None,
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _tfrecord_names(file: DataFile, _: Source) -> list[str]:
    return tfrecords.feature_names(file)


def _tfrecord(file: DataFile, _: Source, columns: Sequence[str], __: Callable) -> Iterator[Rows]:
    yield from _numbered(file, tfrecords.read_batches(file, columns, BATCH_ROWS))


_FORMATS = {
    "parquet": (_parquet_names, _parquet),
    "csv": (_csv_names, _csv),
    "tsv": (_csv_names, _csv),
    "jsonl": (_json_names, _json),
    "tfrecord": (_tfrecord_names, _tfrecord),
}
