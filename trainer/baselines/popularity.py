"""The same items for everyone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from trainer.baselines.rankers import ScoringRanker
from trainer.data.splits import Split


@dataclasses.dataclass(frozen=True)
class PopularityConfig:
    """Nothing to choose."""


POPULARITY_GRID = (PopularityConfig(),)


class Popularity(ScoringRanker):
    """Ranks items by their number of training events.

    Args:
      counts: `[I]` events of each item.
    """

    def __init__(self, counts: np.ndarray) -> None:
        self._scores = counts.astype(np.float64)

    @classmethod
    def fit(cls, split: Split, config: PopularityConfig = PopularityConfig()) -> Popularity:
        """Counts the training events."""
        return cls(np.bincount(np.concatenate(split.train), minlength=len(split.catalogue)))

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """The counts, for each history `[B, I]`."""
        return np.broadcast_to(self._scores, (len(histories), len(self._scores)))
