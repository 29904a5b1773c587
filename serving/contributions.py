"""What each posting list adds to items that are returned."""

from __future__ import annotations

import tensorflow as tf

from serving.lists import PART, PostingLists


def of_lists(lists: PostingLists, list_rows: tf.Tensor, weights: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """The weighted posting of each item in each list, 0 where there is none.

    Every posting of the lists is looked for among the few items, not the items in the lists, which
    are not in their order.

    Args:
      lists: holds the lists.
      list_rows: `[B, K]` int64, the lists of each query.
      weights: `[B, K]` float32, what their scores count.
      rows: `[B, W]` int32 catalogue rows, different within a query but for LAST_ROW, which no item has.

    Returns:
      `[B, W, K]` float32.
    """
    num_lists = tf.shape(list_rows)[1]
    postings = lists.postings(tf.reshape(list_rows, [-1, 1]), tf.reshape(weights, [-1, 1]))
    # Of each part its list among all of the batch.
    at = tf.repeat(tf.range(tf.size(list_rows)), postings.splits[1:] - postings.splits[:-1])
    keys = tf.reshape(_key(at[:, None] // num_lists, postings.rows), [-1])
    at = tf.repeat(at, PART)
    place, found = _places(_key(tf.range(tf.shape(rows)[0])[:, None], rows), keys)
    index = tf.boolean_mask(tf.stack([place, at % num_lists], 1), found)
    scores = tf.boolean_mask(tf.reshape(postings.scores, [-1]), found)
    flat = tf.scatter_nd(index, scores, tf.stack([tf.size(rows), num_lists]))
    return tf.reshape(flat, tf.concat([tf.shape(rows), [num_lists]], 0))


def _key(queries: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """One int64 for a query and a catalogue row; -1 for row -1."""
    return tf.bitwise.bitwise_or(tf.bitwise.left_shift(tf.cast(queries, tf.int64), 32), tf.cast(rows, tf.int64))


def _places(among: tf.Tensor, keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Where in the flattened `among` each of `keys [P]` stands, `[P]` int32, and whether it does."""
    # One more at the end, so that what is past all of them is found there.
    among = tf.concat([tf.reshape(among, [-1]), [tf.int64.max]], 0)
    order = tf.argsort(among)
    place = tf.gather(order, tf.searchsorted(tf.gather(among, order), keys))
    return place, tf.gather(among, place) == keys
