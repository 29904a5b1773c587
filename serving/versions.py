"""The versions of a model: found on disk, loaded, swapped, and looked up for a request."""

from __future__ import annotations

import dataclasses
import logging
import os
import pathlib
import threading
import time
from collections.abc import Callable

from tensorflow_serving.apis import get_model_status_pb2

from protos.errors import UserError
from serving.loader import Servable
from serving.memory import forget_frames, give_back
from serving.model_config import ModelConfig, wanted_versions
from serving.status import StatusError, not_found

State = get_model_status_pb2.ModelVersionStatus.State
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """How a version stands, a value of `State`, and why it ended if it could not be loaded."""

    state: int
    error: StatusError | None = None


@dataclasses.dataclass(frozen=True)
class LoadRetries:
    """How often a version that cannot be loaded is tried again, and after how many seconds each time."""

    most: int = 5
    seconds: float = 60.0


DEFAULT_RETRIES = LoadRetries()  # TensorFlow Serving's


@dataclasses.dataclass(frozen=True)
class _Failure:
    """The last attempt to load a version: its error, how many there were, when the next is due (time.monotonic)."""

    error: StatusError
    attempts: int
    due: float


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
    """The versions of one model. What changes them belongs to one thread at a time; lookups to any.

    A version that is swapped out answers the requests it has begun; it goes with the last of them.

    Attributes:
      name: what requests call the model.
      config: base path and version policy, which `refresh` follows; None when the model is served no longer.
    """

    def __init__(
        self,
        config: ModelConfig,
        retries: LoadRetries = DEFAULT_RETRIES,
        on_load: Callable[[str, bool], None] = lambda path, succeeded: None,
    ) -> None:
        """Loads nothing yet; `on_load` is told of every attempt, by its path, whether it succeeded."""
        self.name = config.name
        self.config: ModelConfig | None = config
        self._retries = retries
        self._on_load = on_load
        self._failures: dict[int, _Failure] = {}  # of wanted versions
        self._lock = threading.Lock()
        self._loaded: dict[int, Servable] = {}  # both are written by changes alone, under the lock
        self._statuses: dict[int, VersionStatus] = {}

    def retire(self) -> None:
        """Lets go of all versions; statuses stay."""
        self.config = None
        self._failures.clear()
        for version in self.available():
            self._unload(version)

    def refresh(self) -> None:
        """Loads the versions that are wanted and new on disk, then lets go of those no longer wanted.

        While no wanted version can be loaded, the old ones stay, as under TensorFlow Serving's
        availability-preserving policy. A load that failed is tried again by the first `refresh` after its
        interval, until its retries are used up; then the version has ended, unless it was unwanted, or its
        directory gone, in between.

        Raises:
          UserError: the base path is not a directory.
        """
        if self.config is None:
            return
        found = find_versions(self.config.base_path)
        wanted = wanted_versions(self.config.model_version_policy, found)
        self._failures = {version: failure for version, failure in self._failures.items() if version in wanted}
        for version in sorted(wanted - self._loaded.keys()):
            if version not in self._failures or self._failures[version].due <= time.monotonic():
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

    def failures(self) -> dict[int, StatusError]:
        """The wanted versions that the last attempt could not load, and why, whether or not they are retried."""
        return {version: failure.error for version, failure in self._failures.items()}

    def close(self) -> None:
        """Cancels what is running on any version; nothing is answered from now on."""
        for version in self.available():
            self._loaded[version].close()

    def _load(self, version: int, path: pathlib.Path) -> None:
        self._set(version, VersionStatus(State.LOADING))
        try:
            servable = Servable(path, version)
        except StatusError as error:
            self._on_load(str(path), False)
            self._failed(version, error)
            return
        self._on_load(str(path), True)
        self._failures.pop(version, None)
        with self._lock:
            self._loaded[version] = servable
            self._statuses[version] = VersionStatus(State.AVAILABLE)
        _log.info("version %d of model %s is available", version, self.name)

    def _failed(self, version: int, error: StatusError) -> None:
        """Plans the next attempt; until the last has failed the version counts as loading."""
        attempts = 1 + (self._failures[version].attempts if version in self._failures else 0)
        _log.error("attempt %d: version %d of model %s cannot be loaded: %s", attempts, version, self.name, error)
        last = attempts > self._retries.most
        due = float("inf") if last else time.monotonic() + self._retries.seconds
        self._failures[version] = _Failure(error, attempts, due)
        if last:
            self._set(version, VersionStatus(State.END, error))
        forget_frames(error)
        give_back()

    def _unload(self, version: int) -> None:
        with self._lock:
            del self._loaded[version]
            self._statuses[version] = VersionStatus(State.END)
        give_back()
        _log.info("version %d of model %s was let go", version, self.name)

    def _set(self, version: int, status: VersionStatus) -> None:
        with self._lock:
            self._statuses[version] = status


def servable_not_found(name: str, version: int | None) -> StatusError:
    """NOT_FOUND in TensorFlow Serving's words."""
    wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return not_found(f"Servable not found for request: {wanted}")
