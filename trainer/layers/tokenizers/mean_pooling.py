"""YoutubeDNN: the mean of a history, and an MLP."""

from __future__ import annotations

import tensorflow as tf

from trainer.layers.tokenizers.base import SingleStateTokenizer
from trainer.layers.tokenizers.feed_forward import FeedForward


class MeanPoolingTokenizer(SingleStateTokenizer):
    """YoutubeDNN (Covington et al. 2016): an MLP of the mean of the events so far.

        state_t = MLP( mean of h_s, s <= t and present )

    The MLP has `config.num_blocks` ReLU layers. The order of events does not matter.

    Args: see Tokenizer.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.feed_forward = FeedForward(self.config, self.config.num_blocks)

    def states(self, events: tf.Tensor, present: tf.Tensor, step: tf.Tensor | None) -> tf.Tensor:
        """See SingleStateTokenizer."""
        counts = tf.cumsum(tf.cast(present, tf.float32), axis=1)[..., None]
        means = tf.cumsum(self.dropout(events, step), axis=1) / tf.maximum(counts, 1.0)
        return self.feed_forward(means, step)
