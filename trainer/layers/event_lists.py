"""Event tokens: the lists of the item memory as a term of a model's score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.layers.tokenizers import PADDING
from trainer.memory import ItemLists


def length_class(lengths: tf.Tensor | Sequence[int], num_classes: int) -> tf.Tensor:
    """Classes `[B]` int32 of histories by their events `[B]` int32: 0 of up to 1, 1 of 2 and 3, 2 of 4 to 7, and so on.

    The last class is also that of longer ones.
    """
    return tf.searchsorted(2 ** tf.range(1, num_classes), lengths, side="right")


class EventLists(tf.Module):
    """The last H events of a history and what their lists add to every item.

        m(q, c) = sum_e w_e list[item_e][c]        w_e = factor(n) * 2^(-age_e / half_life), 0 without a list

    n: events of the history. A long one says more about its user than a short one, beside which tokens,
    which also know what everybody likes, count for more.

    Args:
      lists: of the memory.
      ages: `[H]` float32, the weight of the event of each place in a history, the last event at the end.
      factors: `[C]` float32, of histories of each `length_class`; the last one is also that of longer ones.
    """

    def __init__(self, lists: ItemLists, ages: np.ndarray, factors: Sequence[float] = (1.0,)) -> None:
        super().__init__()
        self.lists = lists
        self.num_items = len(lists.items)
        self.ages = tf.Variable(ages.astype(np.float32), trainable=False, name="event_ages")
        self.factors = tf.Variable(np.asarray(factors, np.float32), trainable=False, name="length_factors")
        self.has_list = tf.Variable((lists.scores > 0).any(axis=1), trainable=False, name="has_list")
        self._items = tf.constant(np.maximum(lists.items, 0))
        self._scores = tf.constant(lists.scores)

    def tokens(self, windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The event tokens of windows.

        Args:
          windows: `[B, T]` int32 rows, right-aligned, -1 is padding.

        Returns:
          Rows `[B, H]` int32, -1 where there is no event or no list, and weights `[B, H]` float32, 0 there.
        """
        num_events = self.ages.shape[0]
        padded = tf.pad(windows, [[0, 0], [num_events, 0]], constant_values=PADDING)
        rows = padded[:, -num_events:] if num_events else padded[:, :0]
        listed = (rows != PADDING) & tf.gather(self.has_list, tf.maximum(rows, 0))
        lengths = tf.reduce_sum(tf.cast(windows != PADDING, tf.int32), 1)
        weights = tf.gather(self.factors, length_class(lengths, self.factors.shape[0]))[:, None] * self.ages
        return tf.where(listed, rows, PADDING), tf.where(listed, weights, 0.0)

    def catalogue_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """m(q, c) `[B, I]` of every item for windows `[B, T]`."""
        rows, weights = self.tokens(windows)
        batch = tf.shape(windows)[0]
        events = tf.maximum(rows, 0)
        items, scores = tf.gather(self._items, events), tf.gather(self._scores, events) * weights[..., None]
        queries = tf.broadcast_to(tf.range(batch)[:, None, None], tf.shape(items))
        at = tf.stack([queries, items], -1)
        return tf.scatter_nd(at, scores, [batch, self.num_items])
