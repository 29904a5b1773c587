"""Versions on a file system: a rename shows one, and a rename hides it.

TensorFlow Serving may watch the directory itself: it looks at names that are numbers, and nothing has
such a name before it is whole, nor after a part of it is gone.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import socket
import uuid
from collections.abc import Collection

from protos.artifact import new_artifact
from protos.servable import read_servable_manifest
from protos.storage.manifest import Sizes
from protos.storage.store import PUBLISHER, Store, VersionTakenError

_REMOVED = "removed"
# As `protos.artifact` and `PosixStore` name what is not a version, or no longer one.
_LEFTOVER = re.compile(rf"\.\d+\.(building|old|{_REMOVED})-.+")


class PosixStore(Store):
    """Versions in a directory.

    Args:
      path: of the directory; publishing makes it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(os.fspath(path))
        self._root = pathlib.Path(path)

    def _listing(self) -> dict[int, Sizes]:
        names = os.listdir(self._root) if self._root.is_dir() else []
        return {int(name): _sizes(self._root / name) for name in names if name.isascii() and name.isdecimal()}

    def _read(self, version: int, name: str) -> bytes:
        return (self._root / str(version) / name).read_bytes()

    def _get(self, version: int, name: str, target: pathlib.Path) -> None:
        shutil.copyfile(self._root / str(version) / name, target)

    def _publish(self, servable: pathlib.Path, names: list[str], version: int, claim: bytes) -> None:
        target = self._root / str(version)
        if target.exists():  # seen before gigabytes are copied; the rename decides
            raise VersionTakenError(f"version {version} at {self.url} is taken")
        try:
            with new_artifact(target, replace=False) as building:
                for name in names:
                    (building / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(servable / name, building / name)
                (building / PUBLISHER).write_bytes(claim)
                read_servable_manifest(building)
        except FileExistsError as error:
            raise VersionTakenError(f"version {version} at {self.url} is taken") from error

    def _remove(self, version: int) -> None:
        hidden = self._root / f".{version}.{_REMOVED}-{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        (self._root / str(version)).rename(hidden)
        shutil.rmtree(hidden)

    def _sweep(self, before: float, spared: Collection[int]) -> list[str]:
        names = os.listdir(self._root) if self._root.is_dir() else []
        stale = [
            name for name in names if _LEFTOVER.fullmatch(name) and _last_written(self._root / name, before) < before
        ]
        for name in stale:
            shutil.rmtree(self._root / name, ignore_errors=True)  # another sweeper may be at it
        return stale

    def _check_writable(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        probe = self._root / f".writable-{uuid.uuid4().hex}"
        probe.mkdir()
        probe.rmdir()


def _sizes(directory: pathlib.Path) -> dict[str, int]:
    """What is in a directory, which may be taken away meanwhile."""
    found = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = pathlib.Path(parent, name)
            try:
                found[path.relative_to(directory).as_posix()] = path.stat().st_size
            except FileNotFoundError:
                continue
    return found


def _last_written(directory: pathlib.Path, enough: float) -> float:
    """Seconds since 1970 of the newest change in a directory, looked for until one is at least `enough`."""
    newest = 0.0
    for parent, _, names in os.walk(directory):
        for path in (pathlib.Path(parent), *(pathlib.Path(parent, name) for name in names)):
            try:
                newest = max(newest, path.stat().st_mtime)
            except FileNotFoundError:
                continue
            if newest >= enough:
                return newest
    return newest
