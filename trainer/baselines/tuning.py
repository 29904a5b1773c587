"""Hyperparameters chosen on validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from trainer.data.splits import Split
from trainer.evaluation import Ranker, evaluate

METRIC = "ndcg@50"

Config = TypeVar("Config")


class Tuned(NamedTuple):
    """The best ranker of a grid, its configuration, and its validation NDCG@50."""

    ranker: Ranker
    config: object
    score: float


def tune(fit: Callable[[Split, Config], Ranker], grid: Sequence[Config], split: Split) -> Tuned:
    """Fits every configuration on training and takes the one with the best NDCG@50 on validation.

    The test part is not read. Of equals the first wins.

    Args:
      fit: called with the split and a configuration; `sharing_fit()` of EASE and ItemKNN saves work on
        grids whose half lives stand side by side.
      grid: configurations, at least one.
      split: with validation queries.

    Raises:
      ValueError: no configurations, or no validation queries.
    """
    if not grid:
        raise ValueError("there are no configurations to choose from")
    queries = split.queries("validation")
    best = None
    for config in grid:
        ranker = fit(split, config)
        score = evaluate(ranker, queries, (METRIC,)).means()[METRIC]
        if best is None or score > best.score:
            best = Tuned(ranker, config, score)
    return best
