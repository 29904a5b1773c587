"""Looks at files of which nothing is known: how their fields are parted, their columns, and some rows of each."""

from __future__ import annotations

import collections
import csv
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Sequence

import pyarrow as pa

from protos.errors import UserError
from trainer.data.schema.files import DataFile, find_files
from trainer.data.schema.readers import column_names, read_rows
from trainer.data.schema.separators import quote_of
from trainer.data.schema.spec import Source
from trainer.data.schema.values import plain

SAMPLE_ROWS = 20_000
_HEAD_BYTES = 1 << 16
_HEAD_ROWS = 100
_SEPARATORS = ("::", "\t", ",", ";", "|")
_STEADY = 0.9  # share of rows that have the same number of fields


@dataclasses.dataclass(frozen=True)
class Sniffed:
    """Files of one layout.

    Attributes:
      files: of one directory; the rows are those of the first one that has any.
      source: how they are read; `names` are made up where there is no header.
      columns: the first rows, as they are in the files but for what a format brings; lists are kept.
      size: bytes of all files.
    """

    files: tuple[DataFile, ...]
    source: Source
    columns: dict[str, pa.Array]
    size: int

    @property
    def name(self) -> str:
        """The first file's name."""
        return pathlib.PurePosixPath(self.files[0].path).name


def sniff(paths: Sequence[str]) -> list[Sniffed]:
    """Looks at all data files that paths name.

    Args:
      paths: of files and directories, or URLs of them.

    Raises:
      UserError: a path names no data file, a file cannot be read, or no file has rows.
    """
    patterns = [path if "://" in path else os.path.abspath(os.path.expanduser(path)) for path in paths]
    files = {file.label: file for pattern in patterns for file in find_files([pattern], "", "init")}
    groups: dict[tuple, list[tuple[DataFile, Source]]] = collections.defaultdict(list)
    for file in files.values():
        source = _source(file)
        names = column_names(file, source) if source else []
        if names:
            groups[os.path.dirname(file.path), file.format, source.separator, tuple(names)].append((file, source))
    found = list(filter(None, (_sniffed(names, group) for (*_, names), group in groups.items())))
    if not found:
        raise UserError(f"no file has rows: {', '.join(files)}; name files that have some")
    return found


def _sniffed(names: Sequence[str], group: list[tuple[DataFile, Source]]) -> Sniffed | None:
    """Files of one layout, by the first that has rows; None if none has."""
    files, (source, *_) = zip(*group, strict=True)
    # A column without a name cannot be asked for, and of several with one name only one can.
    names = [name for name in dict.fromkeys(names) if name.strip()]
    # Rows with other fields than most are for the check to find.
    batches = (rows for file in files for rows in read_rows(file, source, names, lambda row: None))
    rows = next((rows for rows in batches if len(rows.numbers)), None)
    if rows is None:
        return None
    # An example has lists of everything; a table has lists where lists are meant.
    open_lists = rows.file.format == "tfrecord"
    columns = {name: _plain(column[:SAMPLE_ROWS], open_lists) for name, column in rows.columns.items()}
    sizes = [file.filesystem.get_file_info(file.path).size or 0 for file in files]
    return Sniffed(tuple(files), source, columns, sum(sizes))


def _plain(column: pa.Array, open_lists: bool) -> pa.Array:
    """A plain column; bytes that are no text stay bytes, and so will be nothing that is guessed."""
    try:
        return plain(column, open_lists=open_lists)
    except pa.ArrowInvalid:
        return column


def _source(file: DataFile) -> Source | None:
    """How a file is to be read; None if it is empty."""
    if not file.is_text:
        return Source(files=(file.label,))
    encoding, lines = _head(file)
    separator = _separator(lines) or ("\t" if file.format == "tsv" else ",")
    rows = _fields(lines, separator)
    if not rows:
        return None
    names = () if _is_header(rows[0]) else tuple(f"column_{number}" for number in range(1, len(rows[0]) + 1))
    usual = "\t" if file.format == "tsv" else ","
    return Source(
        files=(file.label,), separator="" if separator == usual else separator, names=names, encoding=encoding
    )


def _head(file: DataFile) -> tuple[str, list[str]]:
    """The encoding that fits the beginning of a file, and its first lines, of which the last may be cut off."""
    try:
        with file.stream() as opened:
            content = opened.read(_HEAD_BYTES)
    except OSError as error:
        raise UserError(f"{file.label} cannot be read: {error}") from error
    for encoding in ("utf-8", "latin-1"):
        try:
            # The last bytes may be half a character.
            text = content.decode(encoding) if len(content) < _HEAD_BYTES else content[:-4].decode(encoding, "strict")
            break
        except UnicodeDecodeError as error:
            if error.start > len(content) - 8:
                text = content[: error.start].decode(encoding)
                break
    lines = text.lstrip("\ufeff").splitlines()
    return encoding, [line for line in lines[:-1] or lines if line.strip()][:_HEAD_ROWS]


def _fields(lines: Sequence[str], separator: str) -> list[list[str]]:
    if len(separator) > 1:
        return [line.split(separator) for line in lines]
    quote = quote_of(separator)
    quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    return list(itertools.islice(csv.reader(lines, delimiter=separator, quotechar=quote, quoting=quoting), _HEAD_ROWS))


def _separator(lines: Sequence[str]) -> str | None:
    """The separator by which most rows have the same number of fields, more than one."""
    shares = {}
    for separator in _SEPARATORS:
        (fields, count), *_ = collections.Counter(map(len, _fields(lines, separator))).most_common(1) or [(0, 0)]
        shares[separator] = count / len(lines) if fields > 1 else 0.0
    best = max(_SEPARATORS, key=lambda separator: shares[separator])
    return best if shares[best] >= _STEADY else None


def _is_header(row: Sequence[str]) -> bool:
    """Names are not empty, and no numbers; the first may be empty, as pandas leaves that of an index."""
    named = row[1:] if row and not row[0].strip() else row
    return bool(named) and all(cell.strip() and not _is_number(cell) for cell in named)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
