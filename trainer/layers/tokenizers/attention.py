"""Softmax over the events that a position may see."""

from __future__ import annotations

import tensorflow as tf

_MASKED = -1e9


def prefix_mask(present: tf.Tensor) -> tf.Tensor:
    """`[B, T, T]` float32 of present `[B, T]`: 1 where position t may see event s, which is s <= t and s present."""
    length = tf.shape(present)[1]
    causal = tf.linalg.band_part(tf.ones([length, length]), -1, 0)
    return causal * tf.cast(present, tf.float32)[:, None]


def masked_softmax(logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Softmax over the last axis where the mask is 1; finite, but of no meaning, where it is 0 throughout.

    It is made in float32, of which the mask is; the result is of the logits' type.
    """
    return tf.cast(tf.nn.softmax(tf.cast(logits, tf.float32) + (1.0 - mask) * _MASKED), logits.dtype)
