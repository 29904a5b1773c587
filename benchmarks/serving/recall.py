"""What share of the best items is found, and the least work that finds a wanted share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def recall(found: np.ndarray, best: np.ndarray) -> float:
    """The mean share of each row of `best [Q, k]` that is in the same row of `found [Q, k]`; -1 is no item."""
    hits = [
        len(np.intersect1d(one, other[other >= 0])) / max(1, (other >= 0).sum())
        for one, other in zip(found, best, strict=True)
    ]
    return float(np.mean(hits))


def least(recall_of: Callable[[int], float], target: float, most: int) -> int | None:
    """The least number from 1 to `most` of at least the target recall, which grows with it; None if none has."""
    low, high = 0, 1
    while recall_of(high) < target:
        if high == most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > max(1, low // 16):  # within 6%: finer is beyond the noise of the measurement
        middle = (low + high) // 2
        low, high = (low, middle) if recall_of(middle) >= target else (middle, high)
    return high
