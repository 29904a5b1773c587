"""The directory of a search: what it was asked for, what has come of it, and one process at a time at work in it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from protos.artifact import write_whole, writing
from protos.errors import UserError
from protos.lock import lock

_CLAIM, _STUDY = "search.json", "search.db"
_NAME = "search"


class Store:
    """Where a search keeps all it knows.

    Attributes:
      directory: gets `search.json`, `search.db`, `trials/`, and the results.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps others out while the block runs; the system gives the lock back when a process dies.

        Raises:
          UserError: another is at work here, or the directory cannot be written.
        """
        with writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            held = f"--output {self.directory}: another search is at work there; wait for it, or give another"
            alone = lock(self.directory, held)
        with alone:
            yield

    def require_same(self, asked: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        """Checks that the search that is here, if there is one, was asked for the same.

        Args:
          asked: names with what JSON can hold.
          defaults: what names stand for that came after the search that is here.

        Raises:
          UserError: it was not; the message says what differs. Or the directory is a file.
        """
        if self.directory.exists() and not self.directory.is_dir():
            raise UserError(f"--output {self.directory} is a file; expected a directory")
        path = self.directory / _CLAIM
        if not path.exists():
            return
        try:
            kept = {**defaults, **json.loads(path.read_text())}
        except json.JSONDecodeError as error:
            raise UserError(f"{path} is no valid JSON ({error}): changed by hand? Give another --output") from error
        changed = [
            f"{name} was {json.dumps(kept.get(name))}, now is {json.dumps(asked.get(name))}"
            for name in sorted({*kept, *asked})
            if kept.get(name) != asked.get(name)
        ]
        if changed:
            raise UserError(
                f"{self.directory} holds another search: {'; '.join(changed)}. Go on with the same flags, or give"
                " another --output"
            )

    def claim(self, asked: Mapping[str, Any]) -> None:
        """Writes what is asked for, once it is known to be the same (`require_same`)."""
        with writing(self.directory):
            write_whole(self.directory / _CLAIM, json.dumps(asked, indent=1, sort_keys=True) + "\n")

    def study(self, pruner: optuna.pruners.BasePruner) -> optuna.Study:
        """What has come of the trials so far; any process may open it."""
        # SQLite and not Optuna's journal: of a process that is killed as it writes, nothing or all is there.
        url = f"sqlite:///{self.directory / _STUDY}"
        storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 100}})
        return optuna.create_study(
            storage=storage, study_name=_NAME, direction="maximize", pruner=pruner, load_if_exists=True
        )

    def finished(self) -> list[FrozenTrial]:
        """The trials so far, without making anything; none where there is no search."""
        return self.study(optuna.pruners.NopPruner()).trials if (self.directory / _STUDY).exists() else []

    def run_directory(self, number: int, seed: int | None = None) -> pathlib.Path:
        """The job directory of a trial, or of one more training of it with another seed."""
        name = f"{number:04}" if seed is None else f"{number:04}-seed-{seed}"
        return self.directory / "trials" / name

    def clear(self, kept: Collection[pathlib.Path]) -> None:
        """Removes the checkpoints of runs that are over, but of those kept; their logs and configuration stay."""
        for directory in (self.directory / "trials").iterdir():
            if directory not in kept:
                for checkpoints in (directory / "checkpoints", *directory.glob("member-*/checkpoints")):
                    shutil.rmtree(checkpoints, ignore_errors=True)


def complete(trials: Collection[FrozenTrial]) -> list[FrozenTrial]:
    """Trials that ran to their end, the best first; equal ones by number."""
    return sorted(
        (trial for trial in trials if trial.state == TrialState.COMPLETE),
        key=lambda trial: (-trial.value, trial.number),
    )
