"""What SparCode must beat: rankers that need no gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.sparse

from trainer.data.splits import Sequences, Split
from trainer.evaluation import top_k_unseen


class Popularity:
    """Ranks items by their number of training events, the same for everyone.

    Args:
      counts: `[I]` events of each item.
    """

    def __init__(self, counts: np.ndarray) -> None:
        self._scores = counts.astype(np.float64)

    @classmethod
    def fit(cls, split: Split) -> Popularity:
        """Counts the training events."""
        return cls(np.bincount(np.concatenate(split.train), minlength=len(split.catalogue)))

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> np.ndarray:
        """The k most popular unseen rows `[B, k]` int32."""
        scores = np.broadcast_to(self._scores, (len(histories), len(self._scores)))
        return top_k_unseen(scores, histories, k)


class EASE:
    """Item-item weights in closed form (Steck, "Embarrassingly Shallow Autoencoders", WWW 2019).

    With X `[U, I]` the binary training matrix and P = (X'X + l2 I)^-1, the weights are
    B = -P / diag(P) by columns, with a diagonal of zeros, and a history x scores x B.

    Args:
      weights: `[I, I]` float32, B.
    """

    def __init__(self, weights: np.ndarray) -> None:
        self._weights = weights

    @classmethod
    def fit(cls, split: Split, l2: float) -> EASE:
        """Solves for the weights.

        Memory grows with I^2 and time with I^3: past some 20,000 items this is no longer small.

        Args:
          split: to learn from its training part.
          l2: ridge penalty, above 0; hundreds for sets like MovieLens.
        """
        matrix = _binary(split.train, len(split.catalogue))
        gram = (matrix.T @ matrix).astype(np.float64).toarray(order="F")
        gram[np.diag_indices_from(gram)] += l2
        weights = scipy.linalg.inv(gram, overwrite_a=True).astype(np.float32)
        weights /= -np.diag(weights).copy()
        np.fill_diagonal(weights, 0.0)
        return cls(weights)

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> np.ndarray:
        """The k unseen rows with the highest scores `[B, k]` int32."""
        return top_k_unseen(_binary(histories, len(self._weights)) @ self._weights, histories, k)


def _binary(histories: Sequences | Sequence[np.ndarray], num_items: int) -> scipy.sparse.csr_array:
    """Histories as a `[B, I]` matrix of zeros and ones."""
    lengths = [len(history) for history in histories]
    rows = np.concatenate([[0], np.cumsum(lengths)])
    columns = np.concatenate(histories)
    return scipy.sparse.csr_array((np.ones(len(columns), np.float32), columns, rows), shape=(len(histories), num_items))
