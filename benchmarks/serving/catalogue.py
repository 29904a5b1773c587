"""A catalogue and its users: vectors in clusters of clusters, popularity by Zipf's law, users of few interests.

Real embeddings are no Gaussian noise, for which every index is at its worst, nor well-parted balls, for
which it is at its best: their variance falls from dimension to dimension, and items lie in clusters of very
different sizes which run into one another.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Spread of cluster centres around that of their genre, and of items around that of their cluster.
_CLUSTER_SPREAD, _ITEM_SPREAD = 0.8, 0.6
_GENRES = 48
# The standard deviation of dimension j falls as j^-0.5.
_SPECTRUM = 0.5
# Clusters have sizes, and items popularity, by Zipf's law with these exponents.
_SIZES, _POPULARITY = 0.5, 0.9
_INTERESTS = 3
# Share of events outside a user's interests, and the median and spread of the lengths of histories.
_STRAY, _MEDIAN_LENGTH, _LENGTH_SPREAD = 0.15, 20, 0.8
_ROWS_AT_ONCE = 1 << 18


class Catalogue(NamedTuple):
    """Items.

    Attributes:
      vectors: `[I, D]` float32, of length 1.
      clusters: `[I]` int32, ascending: the items of a cluster lie side by side.
      counts: `[I]` float64, how popular each item is.
    """

    vectors: np.ndarray
    clusters: np.ndarray
    counts: np.ndarray


def make_catalogue(num_items: int, dim: int, rng: np.random.Generator) -> Catalogue:
    """So many items in about 2 sqrt(I) clusters."""
    num_clusters = max(_GENRES, int(2 * num_items**0.5))
    scales = (np.arange(1, dim + 1) ** -_SPECTRUM).astype(np.float32)
    genres = rng.normal(size=(_GENRES, dim)).astype(np.float32)
    around = genres[rng.integers(0, _GENRES, num_clusters)]
    centres = around + _CLUSTER_SPREAD * rng.normal(size=around.shape).astype(np.float32)
    sizes = (1 + np.arange(num_clusters)) ** -_SIZES
    clusters = np.sort(rng.choice(num_clusters, num_items, p=sizes / sizes.sum())).astype(np.int32)
    vectors = np.empty((num_items, dim), np.float32)
    for start in range(0, num_items, _ROWS_AT_ONCE):
        part = clusters[start : start + _ROWS_AT_ONCE]
        noise = rng.standard_normal((len(part), dim), np.float32)
        vectors[start : start + len(part)] = unit((centres[part] + _ITEM_SPREAD * noise) * scales)
    counts = (1.0 + rng.permutation(num_items)) ** -_POPULARITY
    return Catalogue(vectors, clusters, counts / counts.min())


def make_histories(catalogue: Catalogue, count: int, longest: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of `count` histories of up to `longest` distinct items, oldest first, each of a user of a few clusters."""
    popularity = np.cumsum(catalogue.counts)
    lengths = np.exp(rng.normal(np.log(_MEDIAN_LENGTH), _LENGTH_SPREAD, count)).astype(int)
    return [_history(catalogue, popularity, length, rng) for length in np.clip(lengths, 1, longest)]


def _history(catalogue: Catalogue, popularity: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """Events of a user who came to their clusters by popular items and takes popular ones of them."""
    interests = catalogue.clusters[_drawn(popularity, 0, len(popularity), _INTERESTS, rng)]
    of_events = rng.choice(interests, length)
    starts, ends = (np.searchsorted(catalogue.clusters, of_events, side) for side in ("left", "right"))
    stray = rng.random(length) < _STRAY
    starts, ends = np.where(stray, 0, starts), np.where(stray, len(popularity), ends)
    rows = _drawn(popularity, starts, ends, length, rng)
    return rows[np.sort(np.unique(rows, return_index=True)[1])]


def _drawn(
    popularity: np.ndarray, start: np.ndarray | int, end: np.ndarray | int, count: int, rng: np.random.Generator
) -> np.ndarray:
    """`count` rows, each from `start` up to its `end`, by popularity, whose cumulative sums are given."""
    before = np.where(np.asarray(start) > 0, popularity[np.asarray(start) - 1], 0.0)
    last = popularity[np.asarray(end) - 1]
    rows = np.searchsorted(popularity, before + rng.random(count) * (last - before), side="right")
    return np.minimum(rows, np.asarray(end) - 1)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors `[..., D]` at length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
