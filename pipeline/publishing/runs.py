"""The directory of runs: each has one of its own, a run that was stopped is found again, a finished one is not."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from protos.artifact import write_whole
from protos.errors import UserError
from protos.lock import lock

_ASKED, _PUBLISHED = "run.json", "published.json"


@dataclasses.dataclass(frozen=True)
class Run:
    """One way from interactions to a version.

    Attributes:
      directory: gets `train/`, `index/`, `servable/1`, and a note of what each is made from.
      publisher: names this run to those who see its version.
      warm_start: the training that this one starts from; "" for none.
    """

    directory: pathlib.Path
    publisher: str
    warm_start: str

    @property
    def training(self) -> pathlib.Path:
        """The job directory of its training."""
        return self.directory / "train"

    @property
    def is_finished(self) -> bool:
        """Whether its version is published."""
        return (self.directory / _PUBLISHED).exists()

    def finish(self, record: Mapping[str, Any]) -> None:
        """Notes that its version is published, and which; from now on it is not taken up again."""
        write_json(self.directory / _PUBLISHED, record)


class Runs:
    """The runs in a directory, of which one at a time is at work.

    Args:
      work_dir: gets `runs/` and `lock`.
    """

    def __init__(self, work_dir: pathlib.Path) -> None:
        self._work_dir, self._runs = work_dir, work_dir / "runs"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps others out while the block runs; the system gives the lock back when a process dies.

        Raises:
          UserError: another is at work here, or the directory cannot be written.
        """
        try:
            self._runs.mkdir(parents=True, exist_ok=True)
            held = f"{self._work_dir}: another run is at work there; wait for it, or give another directory"
            alone = lock(self._work_dir, f"--work_dir {held}")
        except OSError as error:
            raise UserError(f"--work_dir {self._work_dir} cannot be written: {error.strerror}") from error
        with alone:
            yield

    def take_up(self, asked: Mapping[str, Any], warm_start: bool) -> Run:
        """The newest run that was asked for the same and is not finished, or a new one.

        Args:
          asked: what makes a run the same: its data and its configuration.
          warm_start: whether a new one starts from the weights of the last finished one.
        """
        if run := self.unfinished(asked, warm_start):
            print(f"   goes on with the run in {run.directory}")
            return run
        asked = {**asked, "warm_start": warm_start}
        finished = [run for run, _ in self._all() if run.is_finished]
        weights = str(finished[-1].training) if warm_start and finished else ""
        return self._new(asked, weights)

    def unfinished(self, asked: Mapping[str, Any], warm_start: bool) -> Run | None:
        """The newest run that was asked for the same and is not finished; None if there is none. Nothing is written."""
        asked = {**asked, "warm_start": warm_start}
        found = (run for run, asked_then in reversed(self._all()) if not run.is_finished and asked_then == asked)
        return next(found, None)

    def clear(self) -> None:
        """Removes all runs but the last finished one: what it has published is elsewhere, its weights are not."""
        kept = [run.directory for run, _ in self._all() if run.is_finished][-1:]
        for directory in self._runs.iterdir():
            if directory not in kept:
                shutil.rmtree(directory)

    def _new(self, asked: Mapping[str, Any], warm_start: str) -> Run:
        publisher = uuid.uuid4().hex
        # Names sort by time; two within a second are told apart.
        directory = self._runs / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{publisher[:6]}"
        directory.mkdir()
        number = max((kept["number"] for kept in self._kept().values()), default=0) + 1
        write_json(
            directory / _ASKED, {"number": number, "publisher": publisher, "warm_start": warm_start, "asked": asked}
        )
        print(f"   a new run in {directory}")
        return Run(directory, publisher, warm_start)

    def _kept(self) -> dict[pathlib.Path, dict[str, Any]]:
        # A directory without the file was left by a process that died before it began.
        return {path.parent: json.loads(path.read_text()) for path in self._runs.glob(f"*/{_ASKED}")}

    def _all(self) -> list[tuple[Run, dict[str, Any]]]:
        """All runs, oldest first, with what they were asked for."""
        kept = sorted(self._kept().items(), key=lambda entry: entry[1]["number"])
        return [(Run(at, entry["publisher"], entry["warm_start"]), entry["asked"]) for at, entry in kept]


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a file that is whole or not there."""
    write_whole(path, json.dumps(value, indent=1, sort_keys=True) + "\n")
