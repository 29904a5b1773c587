"""What is measured, as functions of arrays."""

from __future__ import annotations

import numpy as np

from beam_index.quality.best import NO_ROW, Best


def overlap(found: np.ndarray, exact: np.ndarray, k: int) -> np.ndarray:
    """Share of the exact answers that are found:

        overlap@k = |first k found, of first k exact| / |first k exact|

    Args:
      found: `[B, >= k]` rows, best first; NO_ROW where there is none.
      exact: `[B, >= k]` rows, likewise.
      k: how many count.

    Returns:
      `[B]` float64; nan where exact scoring has no answer.
    """
    found, exact = found[:, :k], exact[:, :k]
    hits = (contains(exact, found) & (exact != NO_ROW)).sum(axis=1)
    return _ratio(hits, (exact != NO_ROW).sum(axis=1))


def dcg_ratio(found: Best, exact: Best, k: int) -> np.ndarray:
    """NDCG of the answers where the gain of an item is its exact score:

        dcg_ratio@k = sum_r exact(found_r) / log2(r + 1)  over  sum_r exact(exact_r) / log2(r + 1)      r = 1 .. k

    An answer that is missed costs what it scores more than the one in its place: of many near equals, little.

    Returns:
      `[B]` float64; nan where exact scoring has no answer.
    """
    discounts = _discounts(k)
    gains = (answers.exact[:, :k].astype(np.float64) @ discounts for answers in (found, exact))
    return _ratio(*gains)


def ndcg(found: np.ndarray, relevant: list[np.ndarray], k: int) -> np.ndarray:
    """NDCG against real targets, as the trainer evaluates: binary gains over the best list of min(k, targets) hits.

    Args:
      found: `[B, >= k]` rows, best first.
      relevant: of each query the target rows; -1, an item outside the catalogue, is missed.
      k: how many count.

    Returns:
      `[B]` float64; nan where there are no targets.
    """
    counts = np.array([len(targets) for targets in relevant], np.int64)
    ideal = np.concatenate([[0.0], np.cumsum(_discounts(k))])
    return _ratio(_hits(found, relevant, k) @ _discounts(k), ideal[np.minimum(counts, k)])


def recall(found: np.ndarray, relevant: list[np.ndarray], k: int) -> np.ndarray:
    """Share of the targets that are among the first k; see `ndcg`."""
    counts = np.array([len(targets) for targets in relevant], np.int64)
    return _ratio(_hits(found, relevant, k).sum(axis=1), counts)


def mean(values: np.ndarray) -> float | None:
    """Of those that are not nan; None if there are none."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else None


def gini(counts: np.ndarray) -> float | None:
    """0 where all counts are equal, near 1 where one has all; None where nothing is counted."""
    ascending = np.sort(counts).astype(np.float64)
    if not ascending.sum():
        return None
    share = ascending / ascending.sum()
    ranks = np.arange(1, len(share) + 1)
    return float(((2 * ranks - len(share) - 1) * share).sum() / len(share))


def perplexity(counts: np.ndarray) -> float:
    """exp of the entropy: as many equally used codes would be as diverse; 0 where none is used."""
    used = counts[counts > 0] / max(counts.sum(), 1)
    return float(np.exp(-(used * np.log(used)).sum())) if len(used) else 0.0


def contains(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """`[B, n]` bool: is each of `rows [B, n]` among the `others [B, m]` of its query?"""
    stride = int(max(rows.max(initial=0), others.max(initial=0))) + 2
    first = np.arange(len(rows))[:, None] * stride + 1  # NO_ROW is a row too, that of no other query
    return np.isin(first + rows, first + others)


def _hits(found: np.ndarray, relevant: list[np.ndarray], k: int) -> np.ndarray:
    """Whether `[B, k]` each answer is a target; a target counts once however often it is named."""
    width = max([1, *map(len, relevant)])
    targets = np.full((len(relevant), width), NO_ROW, np.int64)
    for query, rows in enumerate(relevant):
        targets[query, : len(rows)] = rows
    return contains(found[:, :k], targets) & (found[:, :k] != NO_ROW)


def _discounts(k: int) -> np.ndarray:
    return 1 / np.log2(np.arange(k) + 2)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; nan where whole is 0."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
