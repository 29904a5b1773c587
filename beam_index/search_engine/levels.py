"""Scores of a list as whole numbers that a search engine keeps exactly.

A `rank_features` field keeps 9 significant bits of a value, so a score would be rounded where nobody
sees it. The whole numbers 1 .. 255 pass unchanged. The scale of a list goes into the boost of its
clause instead, which is a full float32.
"""

from __future__ import annotations

import numpy as np

LEVELS = 255
# Smaller ones lose bits to underflow: a list of such scores has levels below 255.
_SMALLEST_SCALE = np.finfo(np.float32).tiny


def quantize(scores: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """A list's scores in 8 bits: score = scale * level, off by half a step at most.

        scale = max(scores) / 255        level = max(1, round(score / scale))

    A posting never vanishes, so the least scores are off by up to a step. Levels do not rise along a
    list, as scores do not.

    Args:
      scores: `[n]` float32, all above 0.

    Returns:
      `[n]` uint8 levels, 1 .. 255, and the scale; 0.0 for an empty list.
    """
    if not len(scores):
        return np.empty(0, np.uint8), np.float32(0)
    scale = max(np.float32(scores.max() / np.float32(LEVELS)), _SMALLEST_SCALE)
    levels = np.rint(scores.astype(np.float64) / np.float64(scale))
    return np.clip(levels, 1, LEVELS).astype(np.uint8), scale
