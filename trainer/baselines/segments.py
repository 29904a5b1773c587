"""Groups of users, and what is popular in each."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import scipy.sparse.linalg
from scipy.cluster.vq import kmeans
from scipy.spatial.distance import cdist

from trainer.baselines.histories import history_matrix, require
from trainer.baselines.rankers import ScoringRanker
from trainer.data.splits import Split

_RESTARTS = 5
_NOTHING = 1e-9  # a shorter vector has no direction


@dataclasses.dataclass(frozen=True)
class UserSegmentsConfig:
    """How to segment.

    Attributes:
      num_segments: S, at most; k-means drops the empty ones.
      num_factors: F, at most: dimensions in which users are compared.
      smoothing: events of an average user that are added to each segment.
      seed: of k-means.
    """

    num_segments: int = 32
    num_factors: int = 32
    smoothing: float = 100.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_segments", "num_factors"):
            value = getattr(self, name)
            require(value >= 1, f"{name} of UserSegments is {value}; it must be at least 1")
        require(self.smoothing > 0, f"smoothing of UserSegments is {self.smoothing}; it must be above 0")


USER_SEGMENTS_GRID = tuple(
    UserSegmentsConfig(num_segments, smoothing=smoothing)
    for num_segments, smoothing in itertools.product((8, 32, 128), (100.0, 1_000.0, 10_000.0))
)


class UserSegments(ScoringRanker):
    """Popularity within a segment of users.

    A history x is the unit vector along x V, V `[I, F]` being the first right singular vectors of the
    binary training matrix: users of training and histories never seen are placed alike. k-means
    groups the users of training, and the nearest centroid is a history's segment s. Of n(i) events
    of item i among n, n_s(i) by users of s, it scores

        n_s(i) + smoothing * n(i) / n.

    A history that is empty has no direction, and scores by the second term alone: by popularity.

    Args:
      factors: `[I, F]`, V.
      centroids: `[S, F]`.
      segment_scores: `[S + 1, I]`; the last are those of histories without a direction.
    """

    def __init__(self, factors: np.ndarray, centroids: np.ndarray, segment_scores: np.ndarray) -> None:
        self._factors, self._centroids, self._segment_scores = factors, centroids, segment_scores

    @classmethod
    def fit(cls, split: Split, config: UserSegmentsConfig = UserSegmentsConfig()) -> UserSegments:
        """Segments the users of training.

        Raises:
          UserError: fewer than two users or two items, which leaves nothing to segment.
        """
        seen = history_matrix(split.train, len(split.catalogue)).astype(np.float64)
        require(min(seen.shape) >= 2, f"UserSegments needs two users and two items; there are {seen.shape}")
        num_factors = min(config.num_factors, min(seen.shape) - 1)  # ARPACK finds no more
        factors = scipy.sparse.linalg.svds(seen, num_factors, rng=config.seed)[2].T
        points = _directions(seen @ factors)
        points_of_some = points[points.any(axis=1)]
        centroids, _ = kmeans(
            points_of_some, min(config.num_segments, len(points_of_some)), iter=_RESTARTS, rng=config.seed
        )
        segments = _nearest(points, centroids)
        members = scipy.sparse.csr_array(
            (np.ones(len(segments)), (segments, np.arange(len(segments)))), shape=(len(centroids) + 1, len(segments))
        )
        share = seen.sum(axis=0) / seen.sum()
        return cls(factors, centroids, (members @ seen).toarray() + config.smoothing * share)

    def segments(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """The segment of each history `[B]`; S for one without a direction."""
        return _nearest(_directions(history_matrix(histories, len(self._factors)) @ self._factors), self._centroids)

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """The scores of each history's segment `[B, I]`."""
        return self._segment_scores[self.segments(histories)]


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors `[B, F]` with length 1; zeros where there is no direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > _NOTHING)


def _nearest(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The nearest centroid of each point `[B]`; S for zeros."""
    return np.where(points.any(axis=1), cdist(points, centroids).argmin(axis=1), len(centroids))
