"""The versions of a model: found on disk, loaded, swapped, and looked up for a request."""

from __future__ import annotations

import dataclasses
import logging
import os
import pathlib
import threading
from collections.abc import Collection, Mapping

from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from protos.errors import UserError
from serving.loader import Servable
from serving.status import StatusError, invalid_argument, not_found

State = get_model_status_pb2.ModelVersionStatus.State
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """How a version stands, a value of `State`, and why it ended if it could not be loaded."""

    state: int
    error: StatusError | None = None


def find_versions(base_path: str | os.PathLike[str]) -> dict[int, pathlib.Path]:
    """The version directories of a model: those named by a number; all others are ignored.

    Raises:
      UserError: `base_path` is not a directory.
    """
    base = pathlib.Path(base_path)
    if not base.is_dir():
        raise UserError(
            f"model base path {base} is not a directory; expected one with numbered versions in it (1/, 2/, ...), each"
            " a SavedModel"
        )
    return {int(path.name): path for path in base.iterdir() if _is_number(path.name) and path.is_dir()}


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


class ModelVersions:
    """The versions of one model. `refresh` belongs to one thread; `get` and `statuses` to any.

    A version that is swapped out answers the requests it has begun; it goes with the last of them.
    """

    def __init__(self, name: str, base_path: str | os.PathLike[str], only: Collection[int] = ()) -> None:
        """Loads nothing yet.

        Args:
          name: what requests call the model.
          base_path: the directory of the numbered version directories.
          only: versions to serve; none means the newest, whichever that is.
        """
        self.name = name
        self._base = pathlib.Path(base_path)
        self._only = frozenset(only)
        self._lock = threading.Lock()
        self._loaded: dict[int, Servable] = {}  # written by refresh alone, under the lock
        self._statuses: dict[int, VersionStatus] = {}

    def refresh(self) -> None:
        """Loads the versions that are wanted and new on disk, then lets go of those no longer wanted.

        While no wanted version can be loaded, the old ones stay, as under TensorFlow Serving's
        availability-preserving policy. One that failed is tried again once its directory was gone.

        Raises:
          UserError: the base path is not a directory.
        """
        found = find_versions(self._base)
        wanted = self._wanted(found)
        self._forget_failures(found)
        for version in sorted(wanted - self._loaded.keys() - self._failed()):
            self._load(version, found[version])
        if not wanted or wanted & self._loaded.keys():
            for version in sorted(self._loaded.keys() - wanted):
                self._unload(version)

    def get(self, version: int | None = None) -> Servable:
        """The loaded version of that number, or the newest.

        Raises:
          StatusError: NOT_FOUND when it is not loaded.
        """
        with self._lock:
            number = max(self._loaded, default=None) if version is None else version
            if number in self._loaded:
                return self._loaded[number]
        raise servable_not_found(self.name, version)

    def available(self) -> list[int]:
        """The versions that are loaded, newest first."""
        with self._lock:
            return sorted(self._loaded, reverse=True)

    def statuses(self) -> dict[int, VersionStatus]:
        """Every version seen so far, newest first."""
        with self._lock:
            return {version: self._statuses[version] for version in sorted(self._statuses, reverse=True)}

    def close(self) -> None:
        """Cancels what is running on any version; nothing is answered from now on."""
        for version in self.available():
            self._loaded[version].close()

    def _wanted(self, found: Mapping[int, pathlib.Path]) -> set[int]:
        if self._only:
            return set(found) & self._only
        return {max(found)} if found else set()

    def _failed(self) -> set[int]:
        return {version for version, status in self.statuses().items() if status.error}

    def _forget_failures(self, found: Mapping[int, pathlib.Path]) -> None:
        gone = self._failed() - found.keys()
        with self._lock:
            for version in gone:
                del self._statuses[version]

    def _load(self, version: int, path: pathlib.Path) -> None:
        self._set(version, VersionStatus(State.LOADING))
        try:
            servable = Servable(path, version)
        except StatusError as error:
            _log.error("version %d of model %s cannot be loaded: %s", version, self.name, error)
            self._set(version, VersionStatus(State.END, error))
            return
        with self._lock:
            self._loaded[version] = servable
            self._statuses[version] = VersionStatus(State.AVAILABLE)
        _log.info("version %d of model %s is available", version, self.name)

    def _unload(self, version: int) -> None:
        with self._lock:
            del self._loaded[version]
            self._statuses[version] = VersionStatus(State.END)
        _log.info("version %d of model %s was let go", version, self.name)

    def _set(self, version: int, status: VersionStatus) -> None:
        with self._lock:
            self._statuses[version] = status


def find_servable(models: Mapping[str, ModelVersions], spec: model_pb2.ModelSpec) -> Servable:
    """The loaded version that a request names.

    Raises:
      StatusError: NOT_FOUND when the model or version is not loaded; INVALID_ARGUMENT when no model is
        named, or a version label, which this server has none of.
    """
    if not spec.name:
        raise invalid_argument("ModelSpec has no name specified.")
    if spec.HasField("version_label"):
        raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
    version = spec.version.value if spec.HasField("version") else None
    if spec.name not in models:
        raise servable_not_found(spec.name, version)
    return models[spec.name].get(version)


def servable_not_found(name: str, version: int | None) -> StatusError:
    """NOT_FOUND in TensorFlow Serving's words."""
    wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return not_found(f"Servable not found for request: {wanted}")
