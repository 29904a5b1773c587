"""Posting lists as tensors: found by key, gathered and weighted for a batch of queries.

Lists are held in *parts* of PART postings, each a row of a matrix: TensorFlow gathers a whole row for what it
takes to gather a few single numbers. The last part of a list is filled up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from serving.index import Index

LAST_ROW = 2**31 - 1
# Postings of a part. Longer ones are gathered faster, shorter ones waste less at the end of a list.
PART = 32
# Stands where a part has no posting.
NO_ROW = -1
# The table must be free to look up -1, the key of no list.
_EMPTY_KEY = -2
_DELETED_KEY = -3


class Found(NamedTuple):
    """The lists of a batch of tokens, K_u quantised ones, then H events.

    Attributes:
      rows: `[B, K]` int64, which list; the empty one where the token's slot has none at all, or the event.
      keys: `[B, K]` int64, the keys of those lists.
      fallback: `[B, K]` bool, where a token's own code has no list and its nearest code served; never at an event.
    """

    rows: tf.Tensor
    keys: tf.Tensor
    fallback: tf.Tensor


class Postings(NamedTuple):
    """The postings of the lists of a batch of queries, in the order of the lists.

    Attributes:
      rows: `[P, PART]` int32 catalogue rows; NO_ROW fills up.
      scores: `[P, PART]` float32, weighted; 0 where there is no posting.
      splits: `[B + 1]` int64; query b has the parts `splits[b]` to `splits[b + 1] - 1`.
    """

    rows: tf.Tensor
    scores: tf.Tensor
    splits: tf.Tensor


class PostingLists(tf.Module):
    """All posting lists of an index, in variables and a hash table that are saved with the model.

    Between the scored lists and the ready ones stands an empty list, that of a token that has none: the
    rows up to it are those of the completion block.

    Attributes:
      empty_row: the row of that list.
      first_event_key: the key of the first catalogue row's event; those of others follow row by row.
    """

    def __init__(self, index: Index) -> None:
        """Holds the lists of `index`, at least one of them scored."""
        super().__init__()
        self.empty_row = index.num_scored
        self.first_event_key = index.space.size
        rows = np.arange(len(index.keys))
        rows[self.empty_row :] += 1
        lengths = np.insert(np.diff(index.offsets), self.empty_row, 0)
        bounds = np.concatenate([[0], np.cumsum(-(-lengths // PART))])
        scored_keys = index.keys[: self.empty_row]
        slots, codes = index.space.decode(scored_keys)
        self._bounds = tf.Variable(np.stack([bounds[:-1], bounds[1:]], axis=1), trainable=False, name="list_bounds")
        items, scores = (_in_parts(of, fill, lengths) for of, fill in ((index.items, NO_ROW), (index.scores, 0)))
        self._items = tf.Variable(items, trainable=False, name="posting_items")
        self._scores = tf.Variable(scores, trainable=False, name="posting_scores")
        self._keys = tf.Variable(scored_keys, trainable=False, name="list_keys")
        self._slots = tf.Variable(slots, trainable=False, name="list_slots")
        self._codes = tf.Variable(codes.T, trainable=False, name="list_codes")
        self._codes_per_slot = index.space.codes_per_slot
        self._rows = tf.lookup.experimental.DenseHashTable(
            tf.int64, tf.int64, default_value=self.empty_row, empty_key=_EMPTY_KEY, deleted_key=_DELETED_KEY
        )
        self._rows.insert(index.keys, rows)

    def find(self, keys: tf.Tensor, distances: tf.Tensor) -> Found:
        """Finds the list of each token; that of a quantised one may be that of its slot's nearest code with a list.

        Args:
          keys: `[B, K]` int64, of quantised tokens, then of events; -1 is the key of no list.
          distances: `[B, K_u, M, N]` float32, from each part of a quantised token to each codeword; K_u is static.
        """
        # The table takes keys of rank 1 only.
        rows = tf.reshape(self._rows.lookup(tf.reshape(keys, [-1])), tf.shape(keys))
        num_tokens = distances.shape[1]
        fallback = rows[:, :num_tokens] == self.empty_row
        rows, keys = tf.cond(
            tf.reduce_any(fallback),
            lambda: self._fall_back(rows, keys, distances),
            lambda: (rows, keys),
        )
        return Found(rows, keys, tf.pad(fallback, [[0, 0], [0, keys.shape[1] - num_tokens]]))

    def postings(self, rows: tf.Tensor, weights: tf.Tensor) -> Postings:
        """The postings of lists, their scores times the weights.

        Args:
          rows: `[B, K]` int64; K is static and above 0.
          weights: `[B, K]` float32, none negative.
        """
        bounds = tf.reshape(tf.gather(self._bounds, rows), [-1, 2])
        parts = tf.ragged.range(bounds[:, 0], bounds[:, 1])
        weights = tf.gather(tf.reshape(weights, [-1]), parts.value_rowids())
        scores = tf.gather(self._scores, parts.values) * weights[:, None]
        return Postings(tf.gather(self._items, parts.values), scores, parts.row_splits[:: rows.shape[1]])

    def _fall_back(self, rows: tf.Tensor, keys: tf.Tensor, distances: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Replaces rows of quantised tokens that are the empty one, and their keys, by the nearest listed codes."""
        at = tf.where(rows[:, : distances.shape[1]] == self.empty_row)
        slots = tf.cast(tf.gather_nd(keys, at) // self._codes_per_slot, tf.int32)
        # Token by token: all at once would take tokens x lists x 4 bytes of memory.
        nearest = tf.map_fn(self._nearest, (slots, tf.gather_nd(distances, at)), fn_output_signature=tf.int64)
        listed = nearest < self.empty_row
        nearest_keys = tf.gather(self._keys, tf.where(listed, nearest, 0))
        nearest_keys = tf.where(listed, nearest_keys, tf.gather_nd(keys, at))
        return tf.tensor_scatter_nd_update(rows, at, nearest), tf.tensor_scatter_nd_update(keys, at, nearest_keys)

    def _nearest(self, token: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """The row of the list nearest to a token, given by its slot and its distances `[M, N]`."""
        slot, distances = token
        distance = tf.reduce_sum(tf.gather(distances, self._codes, axis=1, batch_dims=1), axis=0)
        distance = tf.where(self._slots == slot, distance, np.inf)
        best = tf.argmin(distance)
        return tf.where(distance[best] < np.inf, best, self.empty_row)


def _in_parts(values: np.ndarray, fill: float, lengths: np.ndarray) -> np.ndarray:
    """Values of lists one after the other, as rows `[P, PART]` of which each list begins a new one."""
    parts = -(-lengths // PART)
    moved = (np.cumsum(parts) - parts) * PART - (np.cumsum(lengths) - lengths)
    table = np.full(int(parts.sum()) * PART, fill, values.dtype)
    table[np.arange(len(values)) + np.repeat(moved, lengths)] = values
    return table.reshape(-1, PART)
