"""Says how a search goes."""

from __future__ import annotations

import sys

import optuna
from optuna.trial import FrozenTrial
from tqdm import tqdm

from trainer.tune import results
from trainer.tune.search import Plan
from trainer.tune.store import Store, complete


class Report:
    """Says how the search goes: a line a trial, a bar on a terminal, and trials.csv."""

    def __init__(self, plan: Plan, store: Store) -> None:
        self._plan, self._path = plan, store.directory / "trials.csv"
        # Elsewhere than on a terminal the lines of trials are enough.
        self._bar = tqdm(total=plan.trials, desc="search", unit="trial", disable=not sys.stderr.isatty())

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def begin(self, study: optuna.Study) -> None:
        """Says what is there already."""
        before = [trial for trial in study.trials if trial.state.is_finished()]
        if before:
            print(f"goes on after {len(before)} trials", flush=True)
        self._bar.update(len(before))

    def __call__(self, study: optuna.Study, ended: FrozenTrial) -> None:
        """Says how a trial ended."""
        tqdm.write(self._line(study, ended))  # above the bar, on standard output
        sys.stdout.flush()
        self._bar.update()
        results.write_trials(study, self._plan, self._path)

    def _line(self, study: optuna.Study, ended: FrozenTrial) -> str:
        notes = ended.user_attrs
        parts = [results.state_of(ended)] if ended.value is None else [f"{ended.value:.4f}"]
        parts += [notes["reason"]] if notes["reason"] else []
        parts.append(f"{notes['epochs']} epochs in {notes['seconds']:.0f} s")
        if found := complete(study.trials):
            parts.append(f"best {found[0].value:.4f} (trial {found[0].number})")
        return f"trial {ended.number} of {self._plan.trials}: {'; '.join(parts)}"
