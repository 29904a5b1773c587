"""Tokenizers: a history of events becomes the vectors that the quantizer turns into codes."""

from __future__ import annotations

import tensorflow as tf

from trainer.config import TokenizerConfig

PADDING = -1
_MASKED = -1e9


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


class StatelessDropout(tf.keras.layers.Layer):
    """Dropout whose mask is a function of (seed, step), so that a resumed run draws the same masks.

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
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed=seed)


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
        logits = tf.matmul(query, key, transpose_b=True) * head_dim**-0.5 + (1.0 - mask) * _MASKED
        weights = self.dropouts[0](tf.nn.softmax(logits), step)
        merged = tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3])
        return self.output_projection(tf.reshape(merged, [batch, length, config.dim]))


class SelfAttentionTokenizer(tf.keras.layers.Layer):
    """SASRec: one state for each position of the window, from that event and those before it.

    Args:
      config: sizes and dropout.
      max_history: T, the window's length.
    """

    def __init__(self, config: TokenizerConfig, max_history: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.max_history = max_history
        self.positions = self.add_weight(
            name="positions",
            shape=(max_history, config.dim),
            initializer=tf.keras.initializers.RandomNormal(stddev=0.05),
        )
        self.dropout = StatelessDropout(config.dropout, seed=101)
        self.blocks = [AttentionBlock(config, seed=200 + 10 * index) for index in range(config.num_blocks)]
        self.norm = tf.keras.layers.LayerNormalization()

    def call(self, events: tf.Tensor, present: tf.Tensor, step: tf.Tensor | None = None) -> tf.Tensor:
        """States of every position.

        Args:
          events: `[B, T, D]` event embeddings, right-aligned.
          present: `[B, T]` bool, False where there is padding.
          step: training step for dropout; None at inference.

        Returns:
          `[B, T, D]`.
        """
        length = tf.shape(events)[1]
        causal = tf.linalg.band_part(tf.ones([length, length]), -1, 0)
        mask = causal[None, None] * tf.cast(present, tf.float32)[:, None, None, :]
        states = self.dropout(events + self.positions[-length:], step)
        for block in self.blocks:
            states = block(states, mask, step)
        return self.norm(states)


class _Temporary(tf.keras.layers.Layer):
    def __init__(self, config, max_history, num_vectors):
        super().__init__()
        self.inner = SelfAttentionTokenizer(config, max_history)
        self.heads = tf.keras.layers.Dense(num_vectors * config.dim, use_bias=False) if num_vectors > 1 else None
        self.v, self.d = num_vectors, config.dim

    def call(self, events, present, step=None):
        states = self.inner(events, present, step)
        states = self.heads(states) if self.heads is not None else states
        shape = tf.shape(events)
        return tf.reshape(states, [shape[0], shape[1], self.v, self.d])


def make_tokenizer(config, max_history, num_vectors):
    return _Temporary(config, max_history, num_vectors)
