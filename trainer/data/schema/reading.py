"""Reads the rows of a source as columns of the types that the schema says, and reports what is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from protos.errors import UserError
from trainer.data.schema.feature_values import feature_values
from trainer.data.schema.files import DataFile, find_files
from trainer.data.schema.readers import Malformed, Rows, column_names, read_rows
from trainer.data.schema.report import Example, Finding, Report
from trainer.data.schema.spec import Feature, InteractionSource, Table
from trainer.data.schema.values import Converted, plain

_WANTED = {
    "id": "text or a whole number",
    "time": "a time: ISO 8601, a timestamp, or a number since 1970 (`time.unit`); `time.format` is for other text",
    "weight": "a number",
    "category": "text or a whole number",
    "multi_category": "a list of text, or text with a `separator` between the values",
    "number": "a number",
    "text": "text",
    "vector": "a list of numbers, of one length in all rows, or text with a `separator` between them",
}


class Part(NamedTuple):
    """Some rows of a source.

    Attributes:
      file: place of their file in `SourceReader.files`.
      rows: as they are in the file.
    """

    file: int
    rows: Rows


class SourceReader:
    """The files of a source, and the report on them.

    Args:
      place: `interactions`, `items` or `users`.
      source: to be read.
      report: gets the problems.
      files: the source's; None if they are to be found.

    Raises:
      UserError: a file is not found.
    """

    def __init__(
        self,
        place: str,
        source: InteractionSource | Table,
        report: Report,
        files: Sequence[DataFile] | None = None,
    ) -> None:
        self.place, self.source, self.report = place, source, report
        self.files = find_files(source.files, source.format, place) if files is None else list(files)
        self._widths: dict[str, int] = {}
        report.rows.setdefault(place, 0)
        report.bad_rows.setdefault(place, 0)

    def parts(self, limit: int | None = None) -> Iterator[Part]:
        """All rows, or the first ones of each file, at most `limit` in all; files that lack columns give none.

        Raises:
          UserError: a file cannot be read.
        """
        columns = self.source.columns()
        each = None if limit is None else max(1, limit // len(self.files))
        for number, file in enumerate(self.files):
            if self._lacks(file, columns):
                continue
            read = 0
            for rows in read_rows(file, self.source, columns, lambda row, file=file: self._malformed(file, row)):
                if each is not None and read + len(rows.numbers) > each:
                    rows = _first(rows, each - read)
                read += len(rows.numbers)
                self.report.rows[self.place] += len(rows.numbers)
                yield Part(number, rows)
                if read == each:
                    break

    def _lacks(self, file: DataFile, columns: Sequence[str]) -> bool:
        names = column_names(file, self.source)
        if not names:  # an empty file, which has no rows either
            return True
        missing = [name for name in columns if name not in names]
        for name in columns:
            if names.count(name) > 1:
                finding = Finding(
                    *("doubled_column", self.place, name, "several columns have this name, and the first is read"),
                    *("Rename the others, or set `names`", "warning"),
                )
                self.report.add(finding, [Example(file.label, None, f"{names.count(name)} of them")])
        for name in missing:
            close = difflib.get_close_matches(name, names, n=1) or [n for n in names if n.lower() == name.lower()]
            cure = f"Did you mean {close[0]!r}?" if close else "Name one that the file has"
            found = f"it has {', '.join(map(repr, names[:20]))}"
            finding = Finding("missing_column", self.place, name, "there is no such column", cure, "error")
            self.report.add(finding, [Example(file.label, None, found)])
        return bool(missing)

    def _malformed(self, file: DataFile, row: Malformed) -> None:
        self.report.rows[self.place] += 1
        self.report.bad_rows[self.place] += 1
        finding = Finding(
            *("malformed_row", self.place, "", "a row has too few or too many fields, and is left out"),
            *("Quote fields that hold the separator, or set `separator`", "share"),
        )
        self.report.add(finding, [Example(file.label, row.number, row.found)])

    def plain(self, part: Part, column: str, open_lists: bool = True) -> pa.Array:
        """A column without what only its file format brings, see `values.plain`.

        Raises:
          UserError: bytes in it are no UTF-8.
        """
        try:
            return plain(part.rows.columns[column], self.source.missing, open_lists)
        except pa.ArrowInvalid as error:
            rows = f"rows {part.rows.numbers[0]} to {part.rows.numbers[-1]}"
            raise UserError(f"{part.rows.file.label}, {rows}: {column} cannot be read as text: {error}") from error

    def checked(self, part: Part, column: str, converted: Converted, kind: str, needed: bool) -> pa.Array:
        """The values of a column, once what is wrong and, where every row needs one, what is missing is reported.

        Args:
          part: rows that it is of.
          column: its name in the files.
          converted: from these rows.
          kind: what its values should be, a key of what is said about that.
          needed: whether a row without a value is bad.
        """
        kind_of = "wrong_value" if needed else "wrong_feature"
        message = "no such value" + ("; the row is left out" if needed else "; taken as missing")
        self._report(part, column, np.flatnonzero(converted.wrong), kind_of, message, f"Expected {_WANTED[kind]}")
        if needed:
            absent = np.asarray(converted.values.is_null()) & ~converted.wrong
            cure = "Every row needs one: fill it, or leave the row out of the file"
            self._report(part, column, np.flatnonzero(absent), "missing_value", "no value; the row is left out", cure)
        return converted.values

    def _report(self, part: Part, column: str, rows: np.ndarray, kind: str, message: str, cure: str) -> None:
        if not len(rows):
            return
        values, file = part.rows.columns[column], part.rows.file.label
        examples = [
            Example(file, int(part.rows.numbers[row]), f"found {_shown(values[row])}") for row in rows[:1_000].tolist()
        ]
        self.report.add(Finding(kind, self.place, column, message, cure, "share"), examples, len(rows))

    def features(self, part: Part) -> dict[str, pa.Array]:
        """The declared features of some rows that the files have, by their names."""
        return {feature.name: self._feature(part, feature) for feature in self.source.read_features()}

    def _feature(self, part: Part, feature: Feature) -> pa.Array:
        raw = self.plain(part, feature.source, open_lists=not feature.holds_lists)
        values = self.checked(part, feature.source, feature_values(raw, feature), feature.kind, needed=False)
        return self._of_one_width(part, feature, values) if feature.kind == "vector" else values

    def _of_one_width(self, part: Part, feature: Feature, vectors: pa.Array) -> pa.Array:
        """Vectors; those of another length than the first one are reported and left out."""
        lengths = np.asarray(pc.list_value_length(vectors).fill_null(0))
        if not lengths.any():
            return vectors
        width = self._widths.setdefault(feature.name, int(lengths[lengths > 0][0]))
        odd = (lengths > 0) & (lengths != width)
        if odd.any():
            examples = [
                Example(part.rows.file.label, int(part.rows.numbers[row]), f"{lengths[row]} numbers")
                for row in np.flatnonzero(odd)[:1_000].tolist()
            ]
            message = f"a vector of another length than the first one, which has {width}; taken as missing"
            finding = Finding(
                *("vector_length", self.place, feature.source, message), "Give all of them one length", "error"
            )
            self.report.add(finding, examples, int(odd.sum()))
        absent = (lengths == 0) | odd
        return vectors.take(pa.array(np.arange(len(lengths)), mask=absent))


def _first(rows: Rows, count: int) -> Rows:
    columns: Mapping[str, pa.Array] = {name: values[:count] for name, values in rows.columns.items()}
    return Rows(rows.file, rows.numbers[:count], columns)


def _shown(value: pa.Scalar) -> str:
    return "nothing" if not value.is_valid else repr(value.as_py())
