"""Dropout that a resumed run repeats."""

from __future__ import annotations

import tensorflow as tf

from trainer.layers import replicas


class StatelessDropout(tf.keras.layers.Layer):
    """Dropout whose mask is a function of (seed, step), so that a resumed run draws the same masks.

    Replicas draw masks of their own.

    Args:
      rate: share of elements dropped.
      seed: tells the layers of one model apart.
    """

    def __init__(self, rate: float, seed: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed

    def call(self, inputs: tf.Tensor, step: tf.Tensor | None = None) -> tf.Tensor:
        """Drops elements of `inputs` when a step is given, else returns them as they are."""
        if step is None or self.rate == 0:
            return inputs
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.cast(step, tf.int64)])
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed=replicas.own_seed(seed))
