"""GRU4Rec: a recurrent state."""

from __future__ import annotations

import tensorflow as tf

from trainer.layers.tokenizers.base import SingleStateTokenizer
from trainer.layers.tokenizers.dropout import StatelessDropout


class GRUTokenizer(SingleStateTokenizer):
    """GRU4Rec (Hidasi et al. 2016): `config.num_blocks` layers of gated recurrent units.

        z = sigmoid(W_z h + U_z state + b_z)             r = sigmoid(W_r h + U_r state + b_r)
        candidate = tanh(W h + U (r * state) + b)        state <- z * state + (1 - z) * candidate

    The state starts at 0, and absent events leave it alone.

    Args: see Tokenizer.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        dim, layers = self.config.dim, range(self.config.num_blocks)
        # With reset_after=True, which is not the paper's unit, Keras would put cuDNN's ops into exported graphs.
        self.units = [tf.keras.layers.GRU(dim, return_sequences=True, reset_after=False) for _ in layers]
        self.dropouts = [StatelessDropout(self.config.dropout, seed=200 + index) for index in layers]

    def states(self, events: tf.Tensor, present: tf.Tensor, step: tf.Tensor | None) -> tf.Tensor:
        """See SingleStateTokenizer."""
        states = self.dropout(events, step)
        for layer, dropout in zip(self.units, self.dropouts, strict=True):
            states = dropout(layer(states, mask=present), step)
        return states
