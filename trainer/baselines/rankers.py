"""What the baselines share: from scores to ranks, and from item-to-item weights to scores."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import scipy.sparse

from trainer.baselines.histories import history_matrix
from trainer.data.splits import Split
from trainer.evaluation import top_k_unseen


class ScoringRanker(abc.ABC):
    """A ranker that scores the whole catalogue; equal scores go to the smaller row."""

    @abc.abstractmethod
    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Scores `[B, I]` of all items, the seen ones among them, for B histories."""

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> np.ndarray:
        """The k unseen rows with the highest scores `[B, k]` int32."""
        return top_k_unseen(self.scores(histories), histories, k)


class ItemToItem(ScoringRanker):
    """Scores x W: the weights of a history's items, recent ones more if so wished, summed.

    Args:
      weights: `[I, I]` floats, dense or sparse, W: row i is what an event of item i adds to each item.
      half_life: of the events of a history, in events; None weighs them all alike.
    """

    def __init__(self, weights: np.ndarray | scipy.sparse.csr_array, half_life: float | None = None) -> None:
        self._weights, self._half_life = weights, half_life

    @classmethod
    @abc.abstractmethod
    def fit(cls, split: Split, config: Any) -> Self:
        """Learns W from training; `config.half_life` plays no part in it."""

    @classmethod
    def sharing_fit(cls) -> Callable[[Split, Any], Self]:
        """A `fit` that remembers its last W, for grids: configurations that differ by half life only share it."""
        learn = functools.lru_cache(maxsize=1)(cls.fit)

        def fit(split: Split, config: Any) -> Self:
            learnt = learn(split, dataclasses.replace(config, half_life=None))
            return cls(learnt._weights, config.half_life)

        return fit

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """Scores `[B, I]`; those of an empty history are 0."""
        scores = history_matrix(histories, self._weights.shape[0], self._half_life) @ self._weights
        return scores.toarray() if scipy.sparse.issparse(scores) else scores
