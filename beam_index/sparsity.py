"""How much of a list is kept: the rule that makes thresholds and what they do to scores."""

from __future__ import annotations

import numpy as np


def list_threshold(best: np.ndarray, limit: int, floor: np.float32) -> np.float32:
    """The threshold of one list.

        threshold = max(S of rank limit + 1, floor)        floor = -bias, or what a budget asks for

    Subtracted, not only compared (see `above`), it lets scores fade to zero at the cut: an item that
    just makes it into a list adds next to nothing, as one that just does not.

    Args:
      best: `[k]` float32, descending: the best scores above the floor, at least `limit + 1` of them
        where there are so many.
      limit: most postings of the list.
      floor: scores up to it count nothing.
    """
    return max(best[limit], floor) if len(best) > limit else floor


def above(best: np.ndarray, threshold: np.float32) -> np.ndarray:
    """relu(best - threshold) in float32 without its zeros; `best [k]` descends, so they are at its end."""
    return best[best > threshold] - threshold
