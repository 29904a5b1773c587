"""What lists of some length would answer, without building an index.

A list of length L keeps of a code the items that score above a threshold, and what they score above it:

    t(code) = the (L + 1)th best of relu(S(code, .) + b)
    sparse(q, c)    = sum_i relu(C_i(c) - t_i)  +  events(q, c)            C_i = relu(S(code_i, .) + b)
    completed(q, c) = sum_i C_i(c)  +  events(q, c)                        of items in a list of the query

Scores are not rounded here, and every code has its list.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from trainer.evaluation import top_k_unseen
from trainer.report.exported import Exported

Sums = Literal["sparse", "completed"]
SUMS: tuple[Sums, ...] = ("sparse", "completed")


def thresholds(contributions: np.ndarray, length: int) -> np.ndarray:
    """What lists of a length cut off each code's contributions `[C, I]`: `[C]`; 0 where they hold all."""
    num_items = contributions.shape[1]
    if length >= num_items:
        return np.zeros(len(contributions), contributions.dtype)
    return np.partition(contributions, num_items - length - 1, axis=1)[:, num_items - length - 1]


class CutRanker:
    """An export that answers from lists of at most `length` items.

    Args:
      exported: whose scores are cut.
      length: most items of a list.
      sums: how the scores of candidates are made.
    """

    def __init__(self, exported: Exported, length: int, sums: Sums) -> None:
        self._exported, self._length, self._sums = exported, length, sums

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> np.ndarray:
        """The k best unseen candidates of each history `[B, k]`, best first, -1 where there are fewer."""
        encoded = self._exported.encode(histories)
        distinct, places = np.unique(encoded.keys, return_inverse=True)
        whole = self._exported.contributions(distinct)
        stored = np.maximum(whole - thresholds(whole, self._length)[:, None], 0)
        total = self._exported.event_scores(encoded)
        candidates = total > 0
        for token in places.reshape(encoded.keys.shape).T:
            candidates |= stored[token] > 0
            total += (whole if self._sums == "completed" else stored)[token]
        return top_k_unseen(np.where(candidates, total, -np.inf), histories, k)
