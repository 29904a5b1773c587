"""SASRec: causal self-attention."""

from __future__ import annotations

import tensorflow as tf

from trainer.config import TokenizerConfig
from trainer.layers.tokenizers.attention import masked_softmax, prefix_mask
from trainer.layers.tokenizers.base import SingleStateTokenizer
from trainer.layers.tokenizers.dropout import StatelessDropout


class AttentionBlock(tf.keras.layers.Layer):
    """A pre-norm Transformer block with causal self-attention (SASRec, Kang & McAuley 2018)."""

    def __init__(self, config: TokenizerConfig, seed: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.attention_norm = tf.keras.layers.LayerNormalization()
        self.projections = tf.keras.layers.Dense(3 * config.dim)
        self.output_projection = tf.keras.layers.Dense(config.dim)
        self.feed_forward_norm = tf.keras.layers.LayerNormalization()
        self.expand = tf.keras.layers.Dense(4 * config.dim, activation="gelu")
        self.contract = tf.keras.layers.Dense(config.dim)
        self.dropouts = [StatelessDropout(config.dropout, seed + offset) for offset in range(3)]

    def call(self, states: tf.Tensor, mask: tf.Tensor, step: tf.Tensor | None = None) -> tf.Tensor:
        """Maps states `[B, T, D]` to `[B, T, D]`; mask `[B, 1, T, T]` is 1 where a position may look."""
        attended = self._attend(self.attention_norm(states), mask, step)
        states += self.dropouts[1](attended, step)
        fed = self.contract(self.expand(self.feed_forward_norm(states)))
        return states + self.dropouts[2](fed, step)

    def _attend(self, states: tf.Tensor, mask: tf.Tensor, step: tf.Tensor | None) -> tf.Tensor:
        config = self.config
        shape = tf.shape(states)
        batch, length = shape[0], shape[1]
        head_dim = config.dim // config.num_heads
        split = tf.reshape(self.projections(states), [batch, length, 3, config.num_heads, head_dim])
        query, key, value = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]), axis=0)
        weights = masked_softmax(tf.matmul(query, key, transpose_b=True) * head_dim**-0.5, mask)
        merged = tf.transpose(tf.matmul(self.dropouts[0](weights, step), value), [0, 2, 1, 3])
        return self.output_projection(tf.reshape(merged, [batch, length, config.dim]))


class SelfAttentionTokenizer(SingleStateTokenizer):
    """SASRec (Kang & McAuley 2018): `config.num_blocks` causal Transformer blocks over events and positions.

    Args: see Tokenizer.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.positions = self.position_weights()
        self.blocks = [AttentionBlock(self.config, seed=200 + 10 * index) for index in range(self.config.num_blocks)]
        self.norm = tf.keras.layers.LayerNormalization()

    def states(self, events: tf.Tensor, present: tf.Tensor, step: tf.Tensor | None) -> tf.Tensor:
        """See SingleStateTokenizer."""
        mask = prefix_mask(present)[:, None]
        states = self.dropout(events + self.positions[-tf.shape(events)[1] :], step)
        for block in self.blocks:
            states = block(states, mask, step)
        return self.norm(states)
