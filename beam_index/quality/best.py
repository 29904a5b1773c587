"""The best items of each query, kept while the catalogue passes by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

NO_ROW = -1


class Best(NamedTuple):
    """The k best items of each query so far, by descending score, then ascending row.

    Attributes:
      rows: `[B, k]` int64; NO_ROW where fewer than k items score above 0.
      scores: `[B, k]` float32, 0 where there is none.
      exact: `[B, k]` float32, what exact scoring gives those items.
    """

    rows: np.ndarray
    scores: np.ndarray
    exact: np.ndarray


def none(batch: int, k: int) -> Best:
    """Nothing seen yet."""
    return Best(np.full((batch, k), NO_ROW, np.int64), *np.zeros((2, batch, k), np.float32))


def better(best: Best, scores: np.ndarray, exact: np.ndarray, first_row: int) -> Best:
    """The best of those there are and of the next items.

    Args:
      best: of the items before `first_row`.
      scores: `[B, w]` float32 of consecutive items; what is not above 0 is no answer.
      exact: `[B, w]` float32, their exact scores.
      first_row: row of the first of them.
    """
    batch, k = best.rows.shape
    # Not above the k-th best means out, also where it equals it: that one has the smaller row.
    query, column = np.nonzero(scores > best.scores[:, -1:])
    queries = np.concatenate([np.repeat(np.arange(batch), k), query])
    rows = np.concatenate([best.rows.ravel(), first_row + column])
    values = np.concatenate([best.scores.ravel(), scores[query, column]])
    payload = np.concatenate([best.exact.ravel(), exact[query, column]])
    order = np.lexsort((rows, -values, queries))
    # Each query has at least the k entries it had before.
    begins = np.searchsorted(queries[order], np.arange(batch))
    kept = order[begins[:, None] + np.arange(k)]
    return Best(rows[kept], values[kept], payload[kept])
