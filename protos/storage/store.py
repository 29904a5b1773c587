"""What all places for versions have in common; how files get there and away is theirs."""

from __future__ import annotations

import abc
import contextlib
import errno
import json
import pathlib
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from protos.errors import UserError
from protos.servable import SERVABLE_MANIFEST, read_servable_manifest
from protos.storage.manifest import Sizes, files_of, inside, whole_manifest

PUBLISHER = "publisher.json"
# What is not whole and has not grown for so long, nobody is at work on.
STALE_SECONDS = 24 * 3600
_ATTEMPTS = 20


class VersionTakenError(UserError):
    """Another publisher was first with this number."""


class Store(abc.ABC):
    """Published versions below one URL.

    Every method raises UserError, naming the URL, where the place cannot be reached or does not allow it.

    Args:
      url: as messages name it.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def published(self) -> dict[int, dict[str, Any]]:
        """The manifest of every whole version, ascending."""
        with self._reached():
            found = ((number, self._manifest(number, sizes)) for number, sizes in sorted(self._listing().items()))
            return {number: manifest for number, manifest in found if manifest is not None}

    def publisher(self, version: int) -> str | None:
        """Who publishes, or has published, a version; None where that is not known."""
        with self._reached():
            return self._read_publisher(version)

    def check_writable(self) -> None:
        """Raises UserError unless files can be written and removed here: before hours of work, not after."""
        with self._reached():
            self._check_writable()

    def publish(self, servable: pathlib.Path, publisher: str, version: int | None = None) -> int:
        """Publishes a version and returns its number: all of it can be seen, or nothing.

        Called again by the same publisher with the same servable, after it was killed, it goes on: what is
        published stays, what was left half-way is removed first.

        Args:
          servable: as `serving.export` wrote it, whatever its directory is called.
          publisher: names who publishes, and nobody else: kept beside the version.
          version: its number; by default, one more than the largest that is taken.

        Raises:
          VersionTakenError: the number is taken.
          UserError: the servable is not whole.
        """
        manifest = read_servable_manifest(servable)
        with self._reached():
            done = self._resumed(publisher, manifest["fingerprint"], version)
            return done or self._publish_new(servable, manifest, publisher, version)

    def remove(self, version: int) -> None:
        """Removes a version, so that no reader takes what is left of it for one."""
        with self._reached():
            self._remove(version)

    def sweep(self, spared: Collection[int] = ()) -> list[str]:
        """Removes what publishers and removers that died left behind, a day after they last wrote; returns names.

        Args:
          spared: versions that are not touched, whatever they look like.
        """
        with self._reached():
            return self._sweep(time.time() - STALE_SECONDS, spared)

    def fetch(self, version: int, directory: pathlib.Path) -> None:
        """Copies a version into a directory and checks every byte of it by its manifest.

        Raises:
          UserError: there is no such version, it is not whole, or it is not what its manifest says.
        """
        with self._reached():
            listing = self._listing()
            if version not in listing:
                raise UserError(
                    f"{self.url} has no version {version}, only {self._numbers()}; publish it, or pin one that is there"
                )
            manifest = self._manifest(version, listing[version])
            if manifest is None:
                raise UserError(
                    f"version {version} at {self.url} is not whole: {SERVABLE_MANIFEST}, or a file that it lists, is"
                    f" missing or not of its size; whole are {self._numbers()}; publish it anew, or pin one of those"
                )
            for name in files_of(manifest):
                target = directory / inside(name, f"version {version} at {self.url}")
                target.parent.mkdir(parents=True, exist_ok=True)
                self._get(version, name, target)
        read_servable_manifest(directory)

    def _numbers(self) -> str:
        return ", ".join(map(str, self.published())) or "none"

    def _manifest(self, version: int, sizes: Sizes) -> dict[str, Any] | None:
        """The manifest of a version, if it is whole."""
        return whole_manifest(sizes, lambda name: self._read(version, name))

    def _resumed(self, publisher: str, fingerprint: str, version: int | None) -> int | None:
        """The version that this publisher has already published of this; what it left half-way is removed."""
        for number, sizes in sorted(self._listing().items()):
            if PUBLISHER not in sizes or self._read_publisher(number) != publisher:
                continue
            manifest = self._manifest(number, sizes)
            if manifest is None:
                self._remove(number)
            elif manifest["fingerprint"] == fingerprint and version in (None, number):
                return number
        return None

    def _read_publisher(self, version: int) -> str | None:
        try:
            return json.loads(self._read(version, PUBLISHER))["publisher"]
        except (FileNotFoundError, ValueError, TypeError, LookupError):
            return None

    def _publish_new(
        self, servable: pathlib.Path, manifest: Mapping[str, Any], publisher: str, version: int | None
    ) -> int:
        claim = json.dumps({"publisher": publisher, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        for _ in range(1 if version else _ATTEMPTS):
            number = version or max(self._listing(), default=0) + 1
            try:
                self._publish(servable, files_of(manifest), number, claim.encode())
            except VersionTakenError:
                continue
            return number
        raise VersionTakenError(
            f"version {version or number} at {self.url} is taken; choose a number above"
            f" {max(self._listing(), default=0)}, or leave the choice to this command"
        )

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """Turns what goes wrong with the place into a UserError that names it."""
        try:
            yield
        except Exception as error:
            if isinstance(error, UserError) or not self._is_the_places(error):
                raise
            raise UserError(f"{self.url}: {type(error).__name__}: {error}") from error

    def _is_the_places(self, error: Exception) -> bool:
        """Whether an error says something about the place, not about this program or the disk that it fetches to."""
        return isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

    @abc.abstractmethod
    def _listing(self) -> dict[int, Sizes]:
        """Every number that is taken, with what is there, whole or not."""

    @abc.abstractmethod
    def _read(self, version: int, name: str) -> bytes:
        """A small file. Raises FileNotFoundError."""

    @abc.abstractmethod
    def _get(self, version: int, name: str, target: pathlib.Path) -> None:
        """Copies a file from here."""

    @abc.abstractmethod
    def _publish(self, servable: pathlib.Path, names: list[str], version: int, claim: bytes) -> None:
        """Publishes files, the last of which is the manifest, and PUBLISHER. Raises VersionTakenError."""

    @abc.abstractmethod
    def _remove(self, version: int) -> None: ...

    @abc.abstractmethod
    def _sweep(self, before: float, spared: Collection[int]) -> list[str]: ...

    @abc.abstractmethod
    def _check_writable(self) -> None: ...
