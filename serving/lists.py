"""Posting lists as tensors: found by code key, gathered for a batch of queries.

A posting is one int64, its *entry*: the catalogue row in the upper half, reversed so that a smaller
row makes a larger entry, and the bits of its score in the lower half. One gather fetches both, one
sort brings an item's postings together, and positive floats compare as their bits do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from protos.codes import CodeSpace
from serving.index import Index

LAST_ROW = 2**31 - 1
NO_ENTRY = -1
_NO_KEY = -1
_DELETED_KEY = -2


class Found(NamedTuple):
    """The lists of a batch of tokens.

    Attributes:
      rows: `[B, K_u]` int64, which list; `num_lists` where the token's slot has none at all.
      keys: `[B, K_u]` int64, the keys of those lists.
      fallback: `[B, K_u]` bool, where the token's own code has no list and its nearest code served.
    """

    rows: tf.Tensor
    keys: tf.Tensor
    fallback: tf.Tensor


class PostingLists(tf.Module):
    """All posting lists of an index, in variables and a hash table that are saved with the model.

    Row `num_lists`, one past the last list, is an empty list: the list of a token that has none.
    """

    def __init__(self, index: Index, space: CodeSpace) -> None:
        """Holds the lists of `index`, at least one, whose keys are those of `space`."""
        super().__init__()
        self.num_lists = len(index.keys)
        bounds = np.stack([index.offsets, np.append(index.offsets[1:], index.offsets[-1])], axis=1)
        entries = (LAST_ROW - index.items.astype(np.int64)) << 32 | index.scores.view(np.int32)
        slots, codes = space.decode(index.keys)
        self._bounds = tf.Variable(bounds, trainable=False, name="list_bounds")
        self._entries = tf.Variable(entries, trainable=False, name="entries")
        self._keys = tf.Variable(index.keys, trainable=False, name="list_keys")
        self._slots = tf.Variable(slots, trainable=False, name="list_slots")
        self._codes = tf.Variable(codes.T, trainable=False, name="list_codes")
        self._codes_per_slot = space.codes_per_slot
        self._rows = tf.lookup.experimental.DenseHashTable(
            tf.int64, tf.int64, default_value=self.num_lists, empty_key=_NO_KEY, deleted_key=_DELETED_KEY
        )
        self._rows.insert(index.keys, np.arange(self.num_lists))

    def find(self, keys: tf.Tensor, distances: tf.Tensor) -> Found:
        """Finds the list of each token, or that of the nearest code of its slot that has one.

        Args:
          keys: `[B, K_u]` int64 code keys.
          distances: `[B, K_u, M, N]` float32, from each part of the token to each codeword.
        """
        # The table takes keys of rank 1 only.
        rows = tf.reshape(self._rows.lookup(tf.reshape(keys, [-1])), tf.shape(keys))
        fallback = rows == self.num_lists
        rows, keys = tf.cond(
            tf.reduce_any(fallback),
            lambda: self._fall_back(rows, keys, distances),
            lambda: (rows, keys),
        )
        return Found(rows, keys, fallback)

    def entries(self, rows: tf.Tensor) -> tf.Tensor:
        """The entries of `[B, K]` lists, `[B, W]` int64; NO_ENTRY fills up the shorter rows."""
        bounds = tf.reshape(tf.gather(self._bounds, rows), [-1, 2])
        positions = tf.ragged.range(bounds[:, 0], bounds[:, 1])
        of_queries = positions.row_splits[:: rows.shape[1]]
        entries = tf.gather(self._entries, positions.values)
        return tf.RaggedTensor.from_row_splits(entries, of_queries, validate=False).to_tensor(NO_ENTRY)

    def _fall_back(self, rows: tf.Tensor, keys: tf.Tensor, distances: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Replaces the rows that are `num_lists`, and their keys, by the nearest codes that have a list."""
        at = tf.where(rows == self.num_lists)
        slots = tf.cast(tf.gather_nd(keys, at) // self._codes_per_slot, tf.int32)
        # Token by token: all at once would take tokens x lists x 4 bytes of memory.
        nearest = tf.map_fn(self._nearest, (slots, tf.gather_nd(distances, at)), fn_output_signature=tf.int64)
        rows = tf.tensor_scatter_nd_update(rows, at, nearest)
        listed = rows < self.num_lists
        return rows, tf.where(listed, tf.gather(self._keys, tf.where(listed, rows, 0)), keys)

    def _nearest(self, token: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """The row of the list nearest to a token, given by its slot and its distances `[M, N]`."""
        slot, distances = token
        distance = tf.reduce_sum(tf.gather(distances, self._codes, axis=1, batch_dims=1), axis=0)
        distance = tf.where(self._slots == slot, distance, np.inf)
        best = tf.argmin(distance)
        return tf.where(distance[best] < np.inf, best, self.num_lists)
