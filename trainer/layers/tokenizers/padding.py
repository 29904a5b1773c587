"""Rows of a window that stand for no item: padding, and the marker of where a history begins."""

from __future__ import annotations

import tensorflow as tf

PADDING = -1


def with_start(rows: tf.Tensor, start_row: int) -> tf.Tensor:
    """Puts the start marker before the first event, or at the end of an empty history.

    A window that is full has no room for it: its first event has events before it that were cut.

    Args:
      rows: `[B, T]` int32, right-aligned, padding (-1) on the left.
      start_row: the row that stands for "a history begins here".

    Returns:
      `[B, T]` int32.
    """
    following = tf.concat([rows[:, 1:], tf.zeros_like(rows[:, :1])], axis=1)
    return tf.where((rows == PADDING) & (following != PADDING), start_row, rows)
