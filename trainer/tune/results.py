"""What a search leaves for people and programs: trials.csv, best.yaml and a table."""

from __future__ import annotations

import csv
import io
import pathlib
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from protos.artifact import write_whole, writing
from trainer.training import SELECTED_BY
from trainer.tune.search import Plan, finalists, scores_of_seeds
from trainer.tune.store import complete

HEADER = "# Found by python -m trainer.tune"
_SHOWN = 5
_ENOUGH = 8  # complete trials, fewer say nothing on what matters
_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def state_of(trial: FrozenTrial) -> str:
    """How a trial ended, in a word."""
    refused = trial.state == TrialState.PRUNED and trial.user_attrs.get("reason")
    return "refused" if refused else _STATES[trial.state]


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials, the best first: the finalists by their mean over seeds, then the others by their one score."""
    trials = complete(study.trials)
    scores = {trial.number: scores_of_seeds(study, trial) for trial in finalists(trials)}
    # A later call may ask for fewer seeds: what is compared is the mean over as many.
    common = min(map(len, scores.values()), default=1)
    means = {number: statistics.fmean(of_seeds[:common]) for number, of_seeds in scores.items()}
    return sorted(trials, key=lambda trial: -means.get(trial.number, float("-inf")))


def write_trials(study: optuna.Study, plan: Plan, path: pathlib.Path) -> None:
    """Writes a line a trial: how it ended, its score and its point in the space."""
    text = io.StringIO()
    columns = ("trial", "state", SELECTED_BY, "seeds", "epochs", "seconds", *plan.space.fields, "reason")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for trial in study.trials:
        if trial.state == TrialState.WAITING:
            continue
        done = trial.state == TrialState.COMPLETE
        notes = {name: trial.user_attrs.get(name, "") for name in ("epochs", "seconds", "reason")}
        scores = {SELECTED_BY: trial.value, "seeds": len(scores_of_seeds(study, trial))} if done else {}
        seconds = {"seconds": round(notes["seconds"], 1)} if notes["seconds"] != "" else {}
        writer.writerow({"trial": trial.number, "state": state_of(trial), **scores, **notes, **seconds, **trial.params})
    with writing(path):
        write_whole(path, text.getvalue())


def best_preset(study: optuna.Study, plan: Plan, best: FrozenTrial) -> str:
    """The best configuration, whole, as a preset file that says where it comes from."""
    scores = scores_of_seeds(study, best)
    start = _start(study, plan)
    lines = [
        f"{HEADER}: trial {best.number}, the best of {len(complete(study.trials))} complete ones.",
        f"# Data: {plan.source}. Model: {plan.model}. {SELECTED_BY} on validation {best.value:.4f}.",
    ]
    if len(scores) > 1:
        lines.append(f"# Mean of {len(scores)} seeds {statistics.fmean(scores):.4f}, lowest {min(scores):.4f}.")
    if start is not None and start.number != best.number:
        lines.append(f"# The configuration that the search started from came to {start.value:.4f}.")
    lines.append("# Searched: " + ", ".join(f"{name} {_cell(value)}" for name, value in best.params.items()) + ".")
    return "\n".join(lines) + "\n" + plan.space.config(plan.base, best.params).to_yaml()


def table(study: optuna.Study, plan: Plan) -> str:
    """The best trials side by side, a row a field, and how much each field matters."""
    shown, start = ranked(study)[:_SHOWN], _start(study, plan)
    if start is not None and start not in shown:
        shown.append(start)
    matters = importances(study)
    rows = [["", *(f"trial {trial.number}{' (start)' * (trial == start)}" for trial in shown)]]
    rows.append([f"{SELECTED_BY} on validation", *(f"{trial.value:.4f}" for trial in shown)])
    seeds = [scores_of_seeds(study, trial) for trial in shown]
    for name, what in (("mean", statistics.fmean), ("lowest", min)):
        if plan.seeds > 1:
            rows.append([f"{name} over seeds", *(f"{what(scores):.4f}" * (len(scores) > 1) for scores in seeds)])
    rows += [[name, *(_cell(trial.params[name]) for trial in shown)] for name in plan.space.fields]
    if matters:
        rows = [
            [*row, "matters" if not row[0] else f"{matters[row[0]]:.0%}" if row[0] in matters else ""] for row in rows
        ]
    return "\n".join(_aligned(rows))


def importances(study: optuna.Study) -> dict[str, float]:
    """The share of each field in what makes good trials good (PED-ANOVA, Watanabe et al. 2023); {} of few trials."""
    if len(complete(study.trials)) < _ENOUGH:
        return {}
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())


def described(of: BaseDistribution) -> str:
    """The values that a field may take, in words."""
    if isinstance(of, CategoricalDistribution):
        return f"one of {', '.join(map(_cell, of.choices))}"
    step = f" in steps of {_cell(of.step)}" if of.step not in (None, 1) else ""
    return f"{_cell(of.low)} to {_cell(of.high)}{step}{', by its logarithm' * of.log}"


def _start(study: optuna.Study, plan: Plan) -> FrozenTrial | None:
    point = plan.space.point(plan.base)
    return next((trial for trial in complete(study.trials) if trial.params == point), None)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        yield "  ".join(
            [name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]
        )
