"""Reads delimited text fast, and says exactly where it is wrong when it is."""

from __future__ import annotations

import csv
import dataclasses
import io
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.csv

from protos.errors import UserError
from trainer.data.interactions import Coded

ID = pa.dictionary(pa.int32(), pa.string())
NUMBER = pa.float64()
SECONDS = pa.int64()

_WANTED = {
    ID: "an id: text that is not empty",
    NUMBER: "a number",
    SECONDS: "a whole number of seconds since 1970",
}
_MISSING_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the lines of a file are to be read.

    Attributes:
      separator: between fields; more than one character means there is no quoting.
      columns: type of each column that is read; the others are skipped.
      names: of all columns where the file has no header line; None where it has one.
    """

    separator: str
    columns: Mapping[str, pa.DataType]
    names: tuple[str, ...] | None = None


def read_table(path: pathlib.Path, layout: Layout) -> pa.Table:
    """Reads the columns of a layout.

    Raises:
      UserError: the file is missing or has no rows, a column is missing, or a line cannot be read;
        the message names file, line, what was found and what would be right.
    """
    content = _content(path)
    names = list(layout.names or _header(path, content, layout))
    try:
        table = _parse(content, layout, names)
    except pa.ArrowInvalid as error:
        _explain(path, layout, names, str(error))
    if table.num_rows == 0:
        raise UserError(f"{path} has no rows below its header; expected one interaction a line")
    for name, kind in layout.columns.items():
        if kind == ID and "" in coded(table, name).ids:
            _explain(path, layout, names, f"{name} is empty in some row")
    return table


def _parse(content: bytes, layout: Layout, names: Sequence[str]) -> pa.Table:
    separator, quote = layout.separator, '"'
    if len(separator) > 1:
        # Arrow splits at single characters; this one does not occur in text.
        content, separator, quote = content.replace(separator.encode(), b"\x1f"), "\x1f", False
    return pyarrow.csv.read_csv(
        io.BytesIO(content),
        pyarrow.csv.ReadOptions(column_names=names, skip_rows=0 if layout.names else 1),
        pyarrow.csv.ParseOptions(delimiter=separator, quote_char=quote),
        pyarrow.csv.ConvertOptions(
            column_types=dict(layout.columns), include_columns=list(layout.columns), null_values=[]
        ),
    )


def coded(table: pa.Table, name: str) -> Coded:
    """A column of type ID, coded."""
    column = table.column(name).unify_dictionaries().combine_chunks()
    return Coded(column.indices.to_numpy(), column.dictionary.to_pylist())


def numbers(table: pa.Table, name: str) -> np.ndarray:
    """A column of numbers as an array."""
    return table.column(name).to_numpy()


def text_lines(path: pathlib.Path, encodings: Sequence[str] = ("utf-8",)) -> Iterator[tuple[int, str]]:
    """Yields (line number from 1, line) of the lines that are not blank, in the first encoding that fits.

    Raises:
      UserError: the file is missing or empty, or fits none of the encodings.
    """
    for number, line in _lines(_decode(path, _content(path), encodings)):
        if line.strip():
            yield number, line


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # Not splitlines(), which also splits at characters that a title may hold.
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        yield number, line.rstrip("\n")


def _content(path: pathlib.Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    content = path.read_bytes()
    if not content.strip():
        raise UserError(f"{path} is empty")
    return content


def _decode(path: pathlib.Path, content: bytes, encodings: Sequence[str]) -> str:
    for encoding in encodings:
        try:
            return content.decode("utf-8-sig" if encoding == "utf-8" else encoding)
        except UnicodeDecodeError as error:
            failure = error
    line = content.count(b"\n", 0, failure.start) + 1
    raise UserError(
        f"{path}, line {line}: byte {content[failure.start]:#04x} is not {encodings[-1]} text; save the file as UTF-8"
    )


def _header(path: pathlib.Path, content: bytes, layout: Layout) -> list[str]:
    first = _decode(path, content.split(b"\n", 1)[0], ("utf-8",))
    _, found = next(_quoted_rows(path, first, layout.separator))
    for name in layout.columns:
        if name not in found:
            raise UserError(
                f"{path} has no column {name!r}; its first line names {', '.join(map(repr, found[:_MISSING_SHOWN]))}"
            )
    return found


def _explain(path: pathlib.Path, layout: Layout, names: Sequence[str], cause: str) -> NoReturn:
    """Reads again, slowly, to find the first line that is wrong."""
    for number, fields in _rows(path, layout):
        if len(fields) != len(names):
            raise UserError(
                f"{path}, line {number}: {len(fields)} fields, expected {len(names)}:"
                f" {layout.separator.join(names)}; found {layout.separator.join(fields)[:200]!r}"
            )
        for name, kind in layout.columns.items():
            value = fields[names.index(name)]
            if not _fits(value, kind):
                raise UserError(f"{path}, line {number}: {name} is {value!r}, expected {_WANTED[kind]}")
    raise UserError(f"{path} cannot be read: {cause}")


def _rows(path: pathlib.Path, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Yields (line number from 1, fields) of the rows, header and empty lines left out."""
    text = _decode(path, _content(path), ("utf-8",))
    if len(layout.separator) > 1:
        rows = ((number, line.split(layout.separator) if line else []) for number, line in _lines(text))
    else:
        rows = _quoted_rows(path, text, layout.separator)
    for number, fields in rows:
        if fields and (number > 1 or layout.names):
            yield number, fields


def _quoted_rows(path: pathlib.Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    number = 1
    try:
        for fields in reader:
            yield number, fields
            number = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {number}: {error}; is a quote left open?") from error


def _fits(value: str, kind: pa.DataType) -> bool:
    if kind == ID:
        return value != ""
    try:
        pa.array([value]).cast(kind)
    except pa.ArrowInvalid:
        return False
    return True
