"""Versions in a bucket. It has no rename: the manifest comes last and goes first.

A number belongs to whoever creates `PUBLISHER` under it; of two at once, the store lets one do so, and
only one: it is written on condition that it does not exist (S3 `If-None-Match`, Google Cloud Storage
`ifGenerationMatch=0`). A store that ignores the condition guarantees less: who finds another's claim in
place of its own when all files are up gives up, without publishing.
"""

from __future__ import annotations

import contextlib
import importlib
import pathlib
import re
import uuid
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from protos.errors import UserError
from protos.servable import SERVABLE_MANIFEST
from protos.storage.manifest import Sizes
from protos.storage.store import PUBLISHER, Store, VersionTakenError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# The package behind each scheme.
BUCKETS = {"gs": "gcsfs", "s3": "s3fs", "memory": "fsspec"}
# Whose errors are about the place: the packages and what they stand on.
_PLACES = ("botocore", "aiobotocore", "gcsfs", "google", "aiohttp", "requests")


def open_bucket(url: str) -> BucketStore:
    """The versions in a bucket; where it is and who asks, environment and machine say, as its package documents.

    Raises:
      UserError: the package is not installed, or the URL names no bucket.
    """
    scheme, _, path = url.partition("://")
    try:
        importlib.import_module(BUCKETS[scheme])
        from fsspec import url_to_fs
    except ImportError as error:
        raise UserError(f"{url} needs the package {BUCKETS[scheme]}: install sparcode[storage] ({error})") from error
    if not path.strip("/"):
        raise UserError(f"{url} names no {'directory' if scheme == 'memory' else 'bucket'}; for example {url}models")
    # A listing that was kept would hide what others publish and remove.
    filesystem, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    return BucketStore(url.rstrip("/"), filesystem, root)


class BucketStore(Store):
    """Versions below a prefix of a bucket.

    Args:
      url: as messages name it.
      filesystem: of fsspec, without a cache of listings.
      root: the prefix, as the file system names it.
    """

    def __init__(self, url: str, filesystem: AbstractFileSystem, root: str) -> None:
        super().__init__(url)
        self._fs, self._root = filesystem, root.rstrip("/")

    def _is_the_places(self, error: Exception) -> bool:
        return super()._is_the_places(error) or type(error).__module__.partition(".")[0] in _PLACES

    def _path(self, version: int, name: str) -> str:
        return f"{self._root}/{version}/{name}"

    def _found(self, below: str) -> dict[str, dict[str, Any]]:
        """Details of all objects below a prefix, by name."""
        self._fs.invalidate_cache()
        return self._fs.find(below, detail=True)

    def _listing(self) -> dict[int, Sizes]:
        versions: dict[int, dict[str, int]] = {}
        below = re.compile(re.escape(self._root.lstrip("/")) + r"/(0|[1-9][0-9]*)/(.+)")
        for path, details in self._found(self._root).items():
            if match := below.fullmatch(path.lstrip("/")):
                versions.setdefault(int(match[1]), {})[match[2]] = details["size"]
        return versions

    def _read(self, version: int, name: str) -> bytes:
        return self._fs.cat_file(self._path(version, name))

    def _get(self, version: int, name: str, target: pathlib.Path) -> None:
        self._fs.get_file(self._path(version, name), str(target))

    def _publish(self, servable: pathlib.Path, names: list[str], version: int, claim: bytes) -> None:
        self._claim(version, claim)
        try:
            for name in names[:-1]:
                self._fs.put_file(str(servable / name), self._path(version, name))
            self._require_whole(servable, names[:-1], version, claim)
            self._fs.pipe_file(self._path(version, names[-1]), (servable / names[-1]).read_bytes())
        except BaseException:
            with contextlib.suppress(Exception):  # what went wrong first is what the caller should hear of
                if self._holds(version, claim):
                    self._remove(version)
            raise

    def _claim(self, version: int, claim: bytes) -> None:
        if version in self._listing():
            raise VersionTakenError(f"version {version} at {self.url} is taken")
        try:
            self._fs.pipe_file(self._path(version, PUBLISHER), claim, mode="create")
        except FileExistsError as error:
            # It is ours where the answer to the first attempt was lost and the package tried again.
            if not self._holds(version, claim):
                raise VersionTakenError(f"version {version} at {self.url} is taken") from error

    def _holds(self, version: int, claim: bytes) -> bool:
        try:
            return self._read(version, PUBLISHER) == claim
        except FileNotFoundError:
            return False

    def _require_whole(self, servable: pathlib.Path, names: list[str], version: int, claim: bytes) -> None:
        """Raises UserError where another has taken files away, or the number."""
        if not self._holds(version, claim):
            raise UserError(f"version {version} at {self.url} was claimed by another publisher; publish again")
        there = self._listing().get(version, {})
        for name in names:
            size = (servable / name).stat().st_size
            if there.get(name) != size:
                raise UserError(
                    f"{self._path(version, name)} has {there.get(name)} bytes after its upload, not {size}: was it"
                    " removed by another? Publish again"
                )

    def _remove(self, version: int) -> None:
        there = self._listing().get(version, {})
        # The number stays taken until nothing else is left under it.
        order = sorted(there, key=lambda name: (name != SERVABLE_MANIFEST, name == PUBLISHER, name))
        for name in order:
            try:
                self._fs.rm_file(self._path(version, name))
            except FileNotFoundError:  # another remover was here
                continue

    def _sweep(self, before: float, spared: Collection[int]) -> list[str]:
        swept = []
        for version, sizes in self._listing().items():
            if SERVABLE_MANIFEST in sizes or version in spared:
                continue
            with contextlib.suppress(FileNotFoundError):  # gone by now
                times = [self._fs.modified(self._path(version, name)).timestamp() for name in sizes]
                if max(times) < before:
                    self._remove(version)
                    swept.append(str(version))
        return swept

    def _check_writable(self) -> None:
        probe = f"{self._root}/.writable-{uuid.uuid4().hex}"
        self._fs.pipe_file(probe, b"")
        self._fs.rm_file(probe)
