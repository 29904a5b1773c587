"""The MLP that turns pooled events into a query vector."""

from __future__ import annotations

import tensorflow as tf

from trainer.config import TokenizerConfig
from trainer.layers.tokenizers.dropout import StatelessDropout


class FeedForward(tf.keras.layers.Layer):
    """ReLU layers of 4 D units, then a linear layer of D.

    Args:
      config: sizes and dropout, which falls on the ReLU layers.
      num_layers: ReLU layers.
    """

    def __init__(self, config: TokenizerConfig, num_layers: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.hidden = [tf.keras.layers.Dense(4 * config.dim, activation="relu") for _ in range(num_layers)]
        self.dropouts = [StatelessDropout(config.dropout, seed=200 + index) for index in range(num_layers)]
        self.linear = tf.keras.layers.Dense(config.dim)

    def call(self, states: tf.Tensor, step: tf.Tensor | None = None) -> tf.Tensor:
        """Maps `[..., D]` to `[..., D]`."""
        for hidden, dropout in zip(self.hidden, self.dropouts, strict=True):
            states = dropout(hidden(states), step)
        return self.linear(states)
