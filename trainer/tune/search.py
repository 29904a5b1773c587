"""The search itself: Optuna proposes, trainings answer, one after the other or side by side."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import pathlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from protos.errors import UserError
from trainer.config import Config
from trainer.tune.space import Space
from trainer.tune.store import Store, complete
from trainer.tune.trial import PRUNER, Outcome, Work, run
from trainer.workers import executor

FINALISTS = 3
_MOST_STARTS = 3  # of a trial; one with which the process dies each time must not end the search for good
_FAILURES = 3  # all of the first ones: the mistake is not the trials'
Key = TypeVar("Key")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be searched.

    Attributes:
      source: of the data.
      model: one of trainer.task.MODELS.
      base: the configuration that keeps all fields which are not searched.
      space: those that are.
      trials: in all, those of earlier calls counted.
      hours: after which no further trial begins; None for no end.
      jobs: trainings at a time.
      seeds: trainings of each finalist.
    """

    source: str
    model: str
    base: Config
    space: Space
    trials: int
    hours: float | None
    jobs: int
    seeds: int


class Search:
    """A search in a directory, which goes on where an earlier one stopped.

    Args:
      plan: what to do.
      store: the directory, locked.
      heard: called with the study and a trial as each one ends.
    """

    def __init__(self, plan: Plan, store: Store, heard: Callable[[optuna.Study, FrozenTrial], None]) -> None:
        self._plan, self._store, self._heard = plan, store, heard
        self.study = store.study(PRUNER)
        self._end = time.monotonic() + 3600 * plan.hours if plan.hours is not None else float("inf")

    def run(self) -> None:
        """Makes the trials, and then the further trainings of the finalists.

        Raises:
          UserError: nothing but failures, or a process died.
        """
        if not self.study.trials and (start := self._plan.space.point(self._plan.base)):
            self.study.enqueue_trial(start)
        side_by_side = functools.partial(_side_by_side, jobs=self._plan.jobs)
        for trial, outcome in side_by_side((trial, self._work(trial)) for trial in self._due()):
            self._tell(trial, outcome)
            self._require_success()
        for (number, seed), outcome in side_by_side(self._finals()):
            self.study.set_user_attr(_seed_key(number, seed), outcome.score or 0.0)
            self._clear()

    def _due(self) -> Iterator[Trial]:
        """Trials to be run: those that a kill interrupted, then new ones."""
        for unfinished in self.study.get_trials(states=(TrialState.RUNNING,)):
            trial = Trial(self.study, unfinished._trial_id)
            if set(unfinished.params) != set(self._plan.space.fields):
                self._tell(trial, Outcome(None, 0, 0.0, "killed as it began"))
            elif unfinished.user_attrs.get("starts", 0) >= _MOST_STARTS:
                self._tell(trial, Outcome(None, 0, 0.0, f"its process died {_MOST_STARTS} times"))
            else:
                yield self._started(trial)
        while self._begun() < self._plan.trials and time.monotonic() < self._end:
            trial = self._ask()
            try:
                self._plan.space.config(self._plan.base, trial.params)
            except UserError as refused:
                self._tell(trial, Outcome(None, 0, 0.0, str(refused), pruned=True))
            else:
                yield self._started(trial)

    def _begun(self) -> int:
        return sum(trial.state != TrialState.WAITING for trial in self.study.get_trials(deepcopy=False))

    def _ask(self) -> Trial:
        """The next trial. Its sampler is seeded by its number: a search that goes on draws nothing twice."""
        seeds = np.random.SeedSequence([self._plan.base.training.seed, self._begun()])
        self.study.sampler = optuna.samplers.TPESampler(
            seed=int(seeds.generate_state(1)[0]), constant_liar=self._plan.jobs > 1
        )
        return self.study.ask(dict(self._plan.space.fields))

    def _started(self, trial: Trial) -> Trial:
        trial.set_user_attr("starts", trial.user_attrs.get("starts", 0) + 1)
        return trial

    def _work(self, trial: Trial) -> Work:
        config = self._plan.space.config(self._plan.base, trial.params)
        return self._work_of(config, self._store.run_directory(trial.number), trial._trial_id)

    def _work_of(self, config: Config, job_dir: pathlib.Path, trial_id: int | None) -> Work:
        return Work(self._plan.source, self._plan.model, config, job_dir, self._store.directory, trial_id)

    def _tell(self, trial: Trial, outcome: Outcome) -> None:
        for name in ("epochs", "seconds", "reason"):
            trial.set_user_attr(name, getattr(outcome, name))
        if outcome.score is not None:
            frozen = self.study.tell(trial, outcome.score)
        else:
            frozen = self.study.tell(trial, state=TrialState.PRUNED if outcome.pruned else TrialState.FAIL)
        self._clear()
        self._heard(self.study, frozen)

    def _clear(self) -> None:
        """Checkpoints of the best few stay, and of those that are at work."""
        trials = self.study.get_trials(deepcopy=False)
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        self._store.clear({self._store.run_directory(trial.number) for trial in (*finalists(trials), *running)})

    def _require_success(self) -> None:
        ended = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        if len(ended) >= _FAILURES and all(trial.state == TrialState.FAIL for trial in ended):
            reason = ended[-1].user_attrs["reason"]
            raise UserError(f"the first {len(ended)} trials all failed, the last one with: {reason}")

    def _finals(self) -> Iterator[tuple[tuple[int, int], Work]]:
        """Trainings of the finalists with further seeds that are still to be done."""
        for trial in finalists(self.study.trials) if self._plan.seeds > 1 else ():
            config = self._plan.space.config(self._plan.base, trial.params)
            for seed in range(config.training.seed + 1, config.training.seed + self._plan.seeds):
                if _seed_key(trial.number, seed) in self.study.user_attrs:
                    continue
                seeded = dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed))
                yield (trial.number, seed), self._work_of(seeded, self._store.run_directory(trial.number, seed), None)


def finalists(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The best few."""
    return complete(trials)[:FINALISTS]


def scores_of_seeds(study: optuna.Study, trial: FrozenTrial) -> list[float]:
    """NDCG@50 of a trial with each seed that it was trained with, its own first; 0 where training failed."""
    further = [name for name in study.user_attrs if name.startswith(_seed_key(trial.number, ""))]
    return [trial.value, *(study.user_attrs[name] for name in sorted(further, key=lambda name: (len(name), name)))]


def _seed_key(number: int, seed: Any) -> str:
    return f"trial {number} with seed {seed}"


def _side_by_side(works: Iterator[tuple[Key, Work]], jobs: int) -> Iterator[tuple[Key, Outcome]]:
    """Runs trainings, `jobs` at a time; each further one is taken when it can begin, after those before were told."""
    under_way: dict[Future, Any] = {}
    with executor(jobs) as processes:
        while True:
            for key, work in itertools.islice(works, jobs - len(under_way)):
                under_way[processes.submit(run, work)] = key
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                try:
                    yield under_way.pop(future), future.result()
                except BrokenProcessPool as error:
                    raise UserError(
                        "a process of the search died, for want of memory perhaps; run the same command again to go on,"
                        " with fewer --jobs if it happens again"
                    ) from error
