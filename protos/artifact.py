"""Artifacts on disk: complete or absent, and checked by whoever reads them.

An artifact is a directory. Its `manifest.json` is written last; it lists every file with its size
and SHA-256 and carries a fingerprint of them all, so that two artifacts made from one another can
be told to belong together.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from protos.errors import UserError

MANIFEST = "manifest.json"
_READ_BYTES = 1 << 20
_BUILDING, _OLD = "building", "old"
# What the user can mend: no space, no quota, a file larger than allowed.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sha256(path: pathlib.Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _describe_files(directory: pathlib.Path) -> dict[str, dict[str, Any]]:
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path != directory / MANIFEST)
    return {
        path.relative_to(directory).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in paths
    }


def fingerprint(files: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256 over the sorted names and checksums of an artifact's files."""
    lines = "".join(f"{name} {files[name]['sha256']}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


@contextlib.contextmanager
def new_artifact(directory: str | os.PathLike[str], replace: bool = True) -> Iterator[pathlib.Path]:
    """Yields a temporary directory that becomes `directory` when the block ends without an error.

    The writer calls `write_manifest` as its last step. An artifact that stood at `directory` before
    is replaced, or, without `replace`, left alone; after an error it is left as it was and the
    temporary directory is removed. What a process of this machine that was killed had begun is removed
    too.

    Raises:
      UserError: the disk is full.
      FileExistsError: without `replace`, something is at `directory` by now.
    """
    target = pathlib.Path(directory)
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(target)
    building = _sibling(target, _BUILDING)
    shutil.rmtree(building, ignore_errors=True)
    try:
        with writing(target, only=_FULL):
            building.mkdir()
            yield building
            _replace(building, target) if replace else _rename_new(building, target)
    finally:
        shutil.rmtree(building, ignore_errors=True)


@contextlib.contextmanager
def writing(path: pathlib.Path, only: tuple[int, ...] = ()) -> Iterator[None]:
    """Turns an OSError of the block into a UserError that names `path`; if `only` is given, one of those numbers."""
    try:
        yield
    except OSError as error:
        if only and error.errno not in only:
            raise
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def whole_file(path: pathlib.Path, prefix: str = ".") -> Iterator[pathlib.Path]:
    """Yields a temporary name for a file that gets its own when the block ends without an error.

    No two writers have the same name, so whoever does the same work again replaces the file by an equal one.

    Args:
      path: of the file.
      prefix: what the temporary name begins with.
    """
    temporary = path.with_name(f"{prefix}{path.name}.{uuid.uuid4().hex}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: pathlib.Path, text: str) -> None:
    """Writes a file of text that others find whole, with what was there before, or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk has no room for half of it
        raise


def _sibling(target: pathlib.Path, role: str) -> pathlib.Path:
    """A directory of this process beside the artifact. It names the machine too: others may share the file system."""
    return target.with_name(f".{target.name}.{role}-{socket.gethostname()}-{os.getpid()}")


def _clear_leftovers(target: pathlib.Path) -> None:
    """Removes what dead processes of this machine left beside `target`; puts an artifact back that one had set aside.

    A process that lives, or one of another machine, may still be at work: what is its stays.
    """
    for role in (_OLD, _BUILDING):
        start = f".{target.name}.{role}-{socket.gethostname()}-"
        for path in target.parent.iterdir():
            pid = path.name.removeprefix(start)
            if not path.name.startswith(start) or not pid.isdecimal() or _is_alive(int(pid)):
                continue
            if role == _OLD and not target.exists():
                path.rename(target)  # killed between its two renames
            else:
                shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _replace(building: pathlib.Path, target: pathlib.Path) -> None:
    old = _sibling(target, _OLD)
    if target.exists():
        target.rename(old)
    building.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _rename_new(building: pathlib.Path, target: pathlib.Path) -> None:
    try:
        building.rename(target)  # of two at once, one finds a directory that is not empty
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        raise


def write_manifest(directory: str | os.PathLike[str], format_name: str, **fields: Any) -> dict[str, Any]:
    """Writes `manifest.json` over all files now in `directory` and returns it."""
    directory = pathlib.Path(directory)
    files = _describe_files(directory)
    manifest = {"format": format_name, "fingerprint": fingerprint(files), **fields, "files": files}
    path = directory / MANIFEST
    with writing(path):
        write_whole(path, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest


def read_manifest(
    directory: str | os.PathLike[str], format_name: str, at: str = MANIFEST, contents: bool = True
) -> dict[str, Any]:
    """Reads and checks an artifact: format, presence, size and checksum of every file.

    Args:
      directory: of the artifact.
      format_name: what it must be.
      at: where the manifest is in the directory; what it lists, it lists from the directory itself.
      contents: whether checksums are made, which reads every file; otherwise sizes are checked only.

    Raises:
      UserError: the directory is no complete artifact of this format, or a file in it is missing,
        truncated or changed.
    """
    directory = pathlib.Path(directory)
    path = directory / at
    if not directory.is_dir():
        found = "is a file" if directory.exists() else "does not exist"
        raise UserError(f"{directory} {found}; expected a directory holding a {format_name} artifact")
    if not path.is_file():
        raise UserError(f"{directory} has no {at}: it is not a complete {format_name} artifact; build it again")
    try:
        manifest = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is no valid JSON ({error}): truncated or changed; build the artifact again") from error
    if manifest.get("format") != format_name:
        raise UserError(f"{path}: format is {manifest.get('format')!r}, expected {format_name!r}")
    for name, expected in manifest["files"].items():
        _check_file(directory / name, expected, contents)
    return manifest


def _check_file(path: pathlib.Path, expected: Mapping[str, Any], contents: bool) -> None:
    if not path.is_file():
        raise UserError(f"{path} is missing though the manifest lists it; build the artifact again")
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise UserError(
            f"{path} has {size} bytes, its manifest says {expected['bytes']}: the file is truncated or was"
            " changed; build the artifact again"
        )
    if contents and sha256(path) != expected["sha256"]:
        raise UserError(f"{path} does not match the checksum in its manifest; build the artifact again")


def require_same_model(index: Mapping[str, Any], model: Mapping[str, Any], index_dir: str, model_dir: str) -> None:
    """Raises UserError unless the index was built from exactly this exported model."""
    if index["model_fingerprint"] != model["fingerprint"]:
        raise UserError(
            f"index {index_dir} was built from another model: it names {index['model_fingerprint'][:12]}, the"
            f" export {model_dir} is {model['fingerprint'][:12]}; build the index again from this export"
        )
