"""Full-ranking metrics for any ranker: every item of the catalogue competes, nothing is sampled."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from protos.progress import bar
from trainer.data.splits import EvaluationQueries

NOTHING = -1
METRICS = ("recall@50", "ndcg@50", "hr@10", "ndcg@10")

Ranker = Callable[[Sequence[np.ndarray], int], np.ndarray]
"""(B histories as row arrays, oldest first; k) -> `[B, k]` integer rows, best first, none of them in
the history and none twice; -1 where there is nothing."""


@dataclasses.dataclass(frozen=True, eq=False)
class Metrics:
    """Metrics of Q queries.

    Attributes:
      per_user: metric name to `[Q]` float64, in the order of the queries.
    """

    per_user: dict[str, np.ndarray]

    def means(self) -> dict[str, float]:
        """The mean over queries of each metric."""
        return {name: float(values.mean()) for name, values in self.per_user.items()}

    def standard_errors(self) -> dict[str, float]:
        """The standard error of each mean; nan for one query."""
        return {
            name: float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
            for name, values in self.per_user.items()
        }


def evaluate(
    ranker: Ranker,
    queries: EvaluationQueries,
    metrics: Sequence[str] = METRICS,
    batch_size: int = 256,
    progress: str | None = None,
) -> Metrics:
    """Ranks the catalogue for every query and compares with its targets.

    `recall@k`: targets among the first k / number of targets. `hr@k`: 1 if any target is among them.
    `ndcg@k`: binary gains, discount 1 / log2(rank + 1), over that of the best possible list of
    min(k, number of targets) hits. Targets outside the catalogue (-1) count as targets and are missed.

    Args:
      ranker: called with `batch_size` histories and the largest k.
      queries: at least one.
      metrics: names like those of METRICS.
      batch_size: queries a call.
      progress: label of a progress bar; None for none.

    Raises:
      ValueError: no queries, an unknown metric, or a ranker that breaks its contract: a result of
        another shape or type, a row of the user's history, a row twice.
    """
    if not len(queries):
        raise ValueError("there are no queries to evaluate")
    asked = {name: _parse(name) for name in metrics}
    k = max(at for _, at in asked.values())
    parts: dict[str, list[np.ndarray]] = {name: [] for name in asked}
    with bar(len(queries), progress, "query") if progress else contextlib.nullcontext() as shown:
        for start in range(0, len(queries), batch_size):
            batch = slice(start, start + batch_size)
            histories, targets = queries.histories[batch], queries.targets[batch]
            ranked = np.asarray(ranker(histories, k))
            _check(ranked, histories, k, queries.users[batch])
            hits = _contains(ranked, targets)
            counts = np.array([len(target) for target in targets])
            for name, (function, at) in asked.items():
                parts[name].append(function(hits[:, :at], counts))
            if shown is not None:
                shown.update(len(histories))
    return Metrics({name: np.concatenate(values) for name, values in parts.items()})


def top_k_unseen(scores: np.ndarray, histories: Sequence[np.ndarray], k: int) -> np.ndarray:
    """The k best unseen rows by dense scores; equal scores go to the smaller row.

    Args:
      scores: `[B, I]` floats of the whole catalogue; an item scored -inf is never returned.
      histories: B arrays of rows, all >= 0: the seen items; rows past I are not ranked anyway.
      k: how many.

    Returns:
      `[B, k]` int32, best first, -1 where fewer than k items are left.

    Raises:
      ValueError: a score is nan.
    """
    unseen = np.array(scores)
    if np.isnan(unseen).any():
        raise ValueError("scores contain nan: nothing can be ranked by them")
    queries, rows = _flat(histories)
    ranked_at_all = rows < unseen.shape[1]
    unseen[queries[ranked_at_all], rows[ranked_at_all]] = -np.inf
    batch, items = unseen.shape
    width = min(k, items)
    # The k-th best score of each row; everything above it is in, and of its equals the first few rows.
    threshold = np.partition(unseen, items - width, axis=1)[:, items - width, None]
    above, equal = unseen > threshold, unseen == threshold
    vacant = width - above.sum(axis=1, keepdims=True)
    chosen = np.nonzero(above | (equal & (np.cumsum(equal, axis=1) <= vacant)))[1].reshape(batch, width)
    chosen_scores = np.take_along_axis(unseen, chosen, axis=1)
    order = np.argsort(-chosen_scores, axis=1, kind="stable")
    ranked = np.full((batch, k), NOTHING, np.int32)
    ranked[:, :width] = np.where(chosen_scores == -np.inf, NOTHING, chosen)[np.arange(batch)[:, None], order]
    return ranked


def _flat(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """B arrays of rows as one pair of index arrays: position in the batch, row."""
    lengths = [len(row) for row in rows]
    flat = np.concatenate(rows) if len(rows) else np.zeros(0)
    return np.repeat(np.arange(len(rows)), lengths), flat.astype(np.int64)


def _contains(ranked: np.ndarray, rows: Sequence[np.ndarray]) -> np.ndarray:
    """`[B, k]` bool: is a returned row among the given rows of its query? Never for -1."""
    batch, flat = _flat(rows)
    stride = max(int(ranked.max(initial=0)), int(flat.max(initial=0))) + 1
    keys = np.arange(len(ranked))[:, None] * stride + ranked
    return (ranked >= 0) & np.isin(keys, (batch * stride + flat)[flat >= 0])


def _check(ranked: np.ndarray, histories: Sequence[np.ndarray], k: int, users: np.ndarray) -> None:
    expected = (len(histories), k)
    if ranked.shape != expected or not np.issubdtype(ranked.dtype, np.integer):
        raise ValueError(f"the ranker returned {ranked.dtype} {ranked.shape}, expected integer rows {expected}")
    if ranked.min(initial=0) < NOTHING:
        raise ValueError(f"the ranker returned row {ranked.min()}; rows are >= 0, and -1 stands for nothing")
    for problem, wrong in (("is in the history", _contains(ranked, histories)), ("is there twice", _repeats(ranked))):
        if wrong.any():
            query, rank = np.argwhere(wrong)[0]
            found = f"row {ranked[query, rank]} at rank {rank + 1} for user {users[query]}"
            raise ValueError(f"the ranker returned {found}: it {problem}")


def _repeats(ranked: np.ndarray) -> np.ndarray:
    """`[B, k]` bool: an equal row stands earlier in the same list."""
    order = np.argsort(ranked, axis=1, kind="stable")
    in_order = np.take_along_axis(ranked, order, axis=1)
    again = np.zeros(ranked.shape, bool)
    again[:, 1:] = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] != NOTHING)
    repeats = np.zeros_like(again)
    np.put_along_axis(repeats, order, again, axis=1)
    return repeats


def _recall(hits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return hits.sum(axis=1) / counts


def _hit_rate(hits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return hits.any(axis=1).astype(np.float64)


def _ndcg(hits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    discounts = 1 / np.log2(np.arange(hits.shape[1]) + 2)
    ideal = np.cumsum(discounts)[np.minimum(counts, hits.shape[1]) - 1]
    return hits @ discounts / ideal


_FUNCTIONS = {"recall": _recall, "hr": _hit_rate, "ndcg": _ndcg}


def _parse(name: str) -> tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], int]:
    kind, _, at = name.partition("@")
    if kind not in _FUNCTIONS or not at.isdecimal() or int(at) < 1:
        raise ValueError(f"metric {name!r} is unknown; expected one of {', '.join(_FUNCTIONS)} and '@k', as in ndcg@50")
    return _FUNCTIONS[kind], int(at)
