"""The two ways of making f(q, c) of the candidates: from the lists alone, or completed from the block."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import tensorflow as tf

from serving.index import Block
from serving.lists import LAST_ROW


class Candidates(NamedTuple):
    """The postings of each query's lists, sorted so that those of an item stand together.

    Attributes:
      items: `[B, W]` int32 reversed catalogue rows (LAST_ROW - row), descending.
      scores: `[B, W]` float32, descending within an item.
      first: `[B, W]` bool, true at the first posting of each item that may be returned. The other
        two hold arbitrary values where a group of equal items has no first posting.
    """

    items: tf.Tensor
    scores: tf.Tensor
    first: tf.Tensor


class Sums(Protocol):
    """Makes the scores of candidates from the lists of a query's tokens."""

    def __call__(self, candidates: Candidates, list_rows: tf.Tensor) -> tf.Tensor:
        """Scores `[B, W]` float32, right where `candidates.first`, of the lists `[B, K_u]` int64."""
        ...


class SparseSums(tf.Module):
    """An item's score is the sum of its postings; a missing posting counts 0.

    The postings are added in float32 from the largest down, whichever tokens they belong to.
    """

    def __call__(self, candidates: Candidates, list_rows: tf.Tensor) -> tf.Tensor:
        """See `Sums`. An item stands in each list once, so at most K_u postings follow one another."""
        width = tf.shape(candidates.items)[1]
        further = list_rows.shape[1] - 1
        items = tf.pad(candidates.items, [[0, 0], [0, further]], constant_values=-1)
        scores = tf.pad(candidates.scores, [[0, 0], [0, further]])
        total = candidates.scores
        for step in range(1, further + 1):
            same_item = items[:, step : step + width] == candidates.items
            total += tf.where(same_item, scores[:, step : step + width], 0.0)
        return total


class CompletedSums(tf.Module):
    """An item's score is the sum of its contributions in the block, one a token, in token order."""

    def __init__(self, block: Block) -> None:
        """Holds the block flat: one gather of single numbers reads a contribution."""
        super().__init__()
        self._num_items = block.values.shape[1]
        self._num_tiles = block.offset.shape[1]
        self._tile_items = block.tile_items
        self._values = tf.Variable(block.values.ravel(), trainable=False, name="block_values")
        self._offset = tf.Variable(block.offset.ravel(), trainable=False, name="block_offset")
        self._scale = tf.Variable(block.scale.ravel(), trainable=False, name="block_scale")

    def __call__(self, candidates: Candidates, list_rows: tf.Tensor) -> tf.Tensor:
        """See `Sums`. Other postings than the first read item 0, which costs no memory traffic."""
        rows = tf.where(candidates.first, LAST_ROW - candidates.items, 0)
        rows = tf.cast(rows, tf.int64)[:, None, :]
        lists = list_rows[:, :, None]
        value = tf.cast(tf.gather(self._values, lists * self._num_items + rows), tf.float32)
        tile = lists * self._num_tiles + rows // self._tile_items
        contributions = tf.gather(self._offset, tile) + tf.gather(self._scale, tile) * value
        return tf.add_n(tf.unstack(contributions, axis=1))
