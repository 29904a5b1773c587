"""The last look before a version is published: it is served as a frontend would have it, and asked."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from pipeline.steps import served
from protos.errors import UserError
from trainer.data.splits import Split
from trainer.evaluation import Ranker, evaluate

_METRICS = ("recall@50", "ndcg@50")
_MAX_QUERIES = 1000
_MAX_EMPTY = 0.01


class _CountsEmpty:
    """A ranker that counts the answers without an item to histories with one."""

    def __init__(self, ranker: Ranker) -> None:
        self._ranker = ranker
        self.asked = self.empty = 0

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> np.ndarray:
        ranked = self._ranker(histories, k)
        known = np.array([len(history) > 0 for history in histories])
        self.asked += int(known.sum())
        self.empty += int((known & (ranked < 0).all(axis=1)).sum())
        return ranked


def measure_served(base: pathlib.Path, parts: Split, min_ndcg: float) -> dict[str, float]:
    """Loads version 1 under a base path with its warmup, asks it the test queries, and says how it answers.

    Returns:
      Recall@50 and NDCG@50 on (a sample of) the test split, the share of empty answers, and the number of queries;
      only the latter where the split has none.

    Raises:
      UserError: too many answers are empty, or NDCG@50 is below `min_ndcg`.
    """
    queries = parts.queries("test").sample(_MAX_QUERIES, seed=0)
    with served(base, parts) as ranker:
        counting = _CountsEmpty(ranker)
        means = evaluate(counting, queries, _METRICS, progress="asking").means() if len(queries) else {}
    empty = counting.empty / max(counting.asked, 1)
    if empty > _MAX_EMPTY:
        raise UserError(
            f"the servable has no item for {empty:.1%} of the {counting.asked:,} test queries asked, more than"
            f" {_MAX_EMPTY:.0%}: nothing is published; train longer, or look at the model's scores"
        )
    if min_ndcg and not means.get("ndcg@50", 0.0) >= min_ndcg:
        found = f"{means['ndcg@50']:.4f}" if means else "unknown, since no user has a test event"
        raise UserError(
            f"NDCG@50 of the served answers is {found}, below --min_ndcg {min_ndcg:g}: nothing is published"
        )
    return {**means, "empty": empty, "queries": len(queries)}
