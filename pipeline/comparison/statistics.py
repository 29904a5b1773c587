"""Means with their standard errors: over seeds where there are several, over users where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.comparison.measuring import SELECTED_BY, SUMS, VALIDATION
from pipeline.comparison.store import Measured

_DEFAULT_SUMS = "completed"  # of serving.export


class Estimate(NamedTuple):
    """A value and its standard error; None where there is but one user."""

    value: float
    error: float | None

    def __str__(self) -> str:
        return f"{self.value:.4f}" + ("" if self.error is None else f" ± {self.error:.4f}")


def mean(rows: Sequence[dict[str, Any]], metric: str) -> Estimate:
    """The mean of a metric over the rows of one model."""
    values = np.array([row[metric] for row in rows])
    if len(rows) == 1:
        return Estimate(float(values[0]), rows[0][f"{metric}_user_error"])
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def ratio(above: Sequence[Measured], below: Sequence[Measured]) -> Estimate:
    """NDCG@50 of one model over that of another, both with the same seeds.

    Over n pairs (a, b), of seeds or, where there is one seed, of users, the ratio of means is
    r = mean(a) / mean(b), and by the delta method its standard error is
    std(a - r b) / (sqrt(n) mean(b)): what a pair has in common cancels out.
    """
    if len(above) == 1:
        a, b = above[0].per_user, below[0].per_user
    else:
        a, b = (np.array([measured.row[SELECTED_BY] for measured in side]) for side in (above, below))
    value = a.mean() / b.mean()
    error = float((a - value * b).std(ddof=1) / np.sqrt(len(a)) / b.mean()) if len(a) > 1 else None
    return Estimate(float(value), error)


def by_model(measured: Sequence[Measured]) -> dict[str, list[Measured]]:
    """The rows of each model, in the order in which models first come."""
    found: dict[str, list[Measured]] = {}
    for one in measured:
        found.setdefault(one.row["model"], []).append(one)
    return found


def ratios(models: dict[str, list[Measured]]) -> dict[str, Estimate]:
    """SparCode, served the way that is best on validation, against the two-tower and against the ceiling."""
    ways = [f"sparcode_{sums}" for sums in (_DEFAULT_SUMS, *SUMS) if f"sparcode_{sums}" in models]
    if not ways:
        return {}
    best = max(ways, key=lambda way: mean_of([one.row for one in models[way]], VALIDATION))  # of equals the default
    others = [name for name in ("two_tower", "all_to_all") if name in models]
    return {f"{best} / {other}": ratio(models[best], models[other]) for other in others}


def mean_of(rows: Sequence[dict[str, Any]], column: str) -> float:
    """The mean of any column of numbers over the rows of one model."""
    return float(np.mean([row[column] for row in rows]))
