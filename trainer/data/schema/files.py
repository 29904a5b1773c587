"""Finds the files of a source: paths, directories of shards and globs, here or behind a URL."""

from __future__ import annotations

import codecs
import dataclasses
import fnmatch
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.fs as pafs

from protos.errors import UserError

_ENDINGS = {
    **dict.fromkeys(("parquet", "pq", "parq"), "parquet"),
    **dict.fromkeys(("csv", "dat"), "csv"),
    **dict.fromkeys(("tsv", "tab"), "tsv"),
    **dict.fromkeys(("jsonl", "ndjson"), "jsonl"),
    **dict.fromkeys(("tfrecord", "tfrecords"), "tfrecord"),
}
_HEAD_BYTES = 1 << 16
_COMPRESSED = re.compile(r"\.(gz|bz2|zst|lz4)$")
_SHARD = re.compile(r"-\d+-of-\d+(?=\.|$)")
_MAGIC = re.compile(r"[*?\[]")


@dataclasses.dataclass(frozen=True)
class DataFile:
    """A file of a source.

    Attributes:
      filesystem: that it is in.
      path: within it.
      label: what people call it.
      format: a Format, not "".
    """

    filesystem: pafs.FileSystem
    path: str
    label: str
    format: str

    @property
    def is_local(self) -> bool:
        """Whether `path` is one of this machine."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    @property
    def is_text(self) -> bool:
        """Whether it has text only, also for numbers."""
        return self.format in ("csv", "tsv")

    def stream(self) -> pa.NativeFile:
        """Its bytes in order, decompressed by its ending."""
        return self.filesystem.open_input_stream(self.path, compression="detect")

    def random_access(self) -> pa.NativeFile:
        """Its bytes in any order, as they are."""
        return self.filesystem.open_input_file(self.path)


def is_blank(file: DataFile, has_header: bool) -> bool:
    """Whether a file of lines has nothing, or a header whose line has no end and so no row after it.

    Raises:
      OSError: it cannot be read.
    """
    if not file.is_text and file.format != "jsonl":
        return False
    with file.stream() as opened:
        head = opened.read(_HEAD_BYTES)
    content = head.removeprefix(codecs.BOM_UTF8).strip(b" \r\n")
    ended = len(head) == _HEAD_BYTES or re.search(rb"[\r\n]", content + head[-1:])
    return not content or (file.is_text and has_header and not ended)


def format_of(name: str) -> str | None:
    """The format that a file's ending tells, compressed or one of several shards or not; None if it tells none."""
    name = _SHARD.sub("", _COMPRESSED.sub("", name.lower()))
    return _ENDINGS.get(name.rpartition(".")[2]) if "." in name else None


def find_files(patterns: Sequence[str], wanted: str, place: str) -> list[DataFile]:
    """The files that patterns name, those of each pattern sorted.

    Hidden files and those with a leading `_` (`_SUCCESS`) are none of a directory's or a glob's. In a glob, `*`
    stands for characters of one name, not for `/`.

    Args:
      patterns: absolute paths or URLs of files, directories (with all below them) or globs.
      wanted: their format; "" if their endings tell it, and then files of other endings are none of a directory's.
      place: what they are files of, for errors, such as `interactions`.

    Raises:
      UserError: a pattern names no file, its format is not known, or its file system is not.
    """
    return [file for pattern in patterns for file in _matching(pattern, wanted, place)]


def _matching(pattern: str, wanted: str, place: str) -> list[DataFile]:
    filesystem, path = _filesystem(pattern, place)
    prefix = pattern[: len(pattern) - len(path)] if pattern.endswith(path) else ""
    try:
        named, paths = _paths(filesystem, path)
    except OSError as error:
        raise UserError(f"{place}: {pattern} cannot be listed: {error}") from error
    files = [DataFile(filesystem, each, prefix + each, wanted or format_of(each) or "") for each in sorted(paths)]
    if not named:
        files = [file for file in files if file.format]
    for file in files:
        if not file.format:
            raise UserError(
                f"{place}: {file.label} has no ending that tells its format (.parquet, .csv, .tsv, .jsonl, .tfrecord,"
                f" also .gz); set {place}.format"
            )
    if not files:
        raise UserError(f"{place}: {pattern} names no data file; expected a file, a directory of shards, or a glob")
    return files


def _paths(filesystem: pafs.FileSystem, path: str) -> tuple[bool, list[str]]:
    """Whether the path is that of one file, and all paths that it stands for."""
    info = filesystem.get_file_info(path)
    if info.type == pafs.FileType.File:
        return True, [path]
    if info.type == pafs.FileType.Directory:
        return False, [found for found in _below(filesystem, path) if _is_data(found[len(path) :])]
    magic = _MAGIC.search(path)
    if not magic:
        return False, []
    base = path[: magic.start()].rpartition("/")[0]
    parts = path[len(base) :].split("/")
    return False, [found for found in _below(filesystem, base) if _fits(found[len(base) :].split("/"), parts)]


def _below(filesystem: pafs.FileSystem, base: str) -> list[str]:
    selector = pafs.FileSelector(base or "/", recursive=True, allow_not_found=True)
    return [info.path for info in filesystem.get_file_info(selector) if info.type == pafs.FileType.File]


def _is_data(relative: str) -> bool:
    return not any(part.startswith((".", "_")) for part in relative.split("/") if part)


def _fits(names: Sequence[str], parts: Sequence[str]) -> bool:
    same_depth = len(names) == len(parts) and _is_data(names[-1])
    return same_depth and all(fnmatch.fnmatchcase(*pair) for pair in zip(names, parts, strict=True))


def _filesystem(pattern: str, place: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a path or URL, and the path in it: Arrow's own, else one of fsspec."""
    scheme = pattern.partition("://")[0]
    if scheme == pattern:
        return pafs.LocalFileSystem(), pattern
    magic = _MAGIC.search(pattern)
    # A glob is no URI: what is before it is asked for, and the rest put back.
    plain = pattern[: magic.start()].rpartition("/")[0] if magic else pattern
    try:
        filesystem, path = pafs.FileSystem.from_uri(plain)
        return filesystem, path.rstrip("/") + pattern[len(plain) :]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        return _of_fsspec(scheme, pattern, place, error)


def _of_fsspec(scheme: str, pattern: str, place: str, error: Exception) -> tuple[pafs.FileSystem, str]:
    try:
        import fsspec
    except ImportError:
        raise UserError(
            f"{place}: {pattern}: Arrow cannot open {scheme}:// ({error}); install fsspec and its package for it"
        ) from error
    try:
        filesystem, path = fsspec.url_to_fs(pattern)
    except (ValueError, ImportError) as failure:
        raise UserError(f"{place}: {pattern}: fsspec cannot open {scheme}://: {failure}") from failure
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), path
