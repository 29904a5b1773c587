"""What every tokenizer is: V query vectors at each position, from its event and those before it."""

from __future__ import annotations

import abc

import tensorflow as tf

from trainer.config import TokenizerConfig
from trainer.layers.tokenizers.dropout import StatelessDropout


class Tokenizer(tf.keras.layers.Layer, abc.ABC):
    """Turns a window of events into query vectors.

    Args:
      config: sizes and dropout.
      max_history: the longest window.
      num_vectors: V.
    """

    def __init__(self, config: TokenizerConfig, max_history: int, num_vectors: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.config, self.max_history, self.num_vectors = config, max_history, num_vectors
        self.dropout = StatelessDropout(config.dropout, seed=101)
        # Sums over no events are 0, whose direction and gradient are not defined: they get vectors of their own.
        self.empty_history = self.add_weight(
            name="empty_history",
            shape=(num_vectors, config.dim),
            initializer=tf.keras.initializers.RandomNormal(stddev=config.dim**-0.5, seed=101),
        )

    def call(self, events: tf.Tensor, present: tf.Tensor, step: tf.Tensor | None = None) -> tf.Tensor:
        """Query vectors of every position; none depends on later events, or on what stands at absent ones.

        Args:
          events: `[B, T, D]` event embeddings, right-aligned, T <= max_history.
          present: `[B, T]` bool, False where there is no event.
          step: training step for dropout; None at inference.

        Returns:
          `[B, T, V, D]`. Positions up to which nothing is present share V learned vectors.
        """
        vectors = self.vectors(tf.where(present[..., None], events, 0.0), present, step)
        started = tf.cumsum(tf.cast(present, tf.int32), axis=1) > 0
        return tf.where(started[..., None, None], vectors, self.empty_history)

    @abc.abstractmethod
    def vectors(self, events: tf.Tensor, present: tf.Tensor, step: tf.Tensor | None) -> tf.Tensor:
        """`call` for events that are 0 where absent; any finite values where nothing is present yet."""

    def position_weights(self) -> tf.Variable:
        """A weight `[max_history, D]`; its last T rows belong to a window of T events."""
        return self.add_weight(
            name="positions",
            shape=(self.max_history, self.config.dim),
            initializer=tf.keras.initializers.RandomNormal(stddev=0.05),
        )


class SingleStateTokenizer(Tokenizer):
    """A tokenizer with one state a position: the query vector itself, or the input of V linear heads.

    Args: see Tokenizer.
    """

    def __init__(self, config: TokenizerConfig, max_history: int, num_vectors: int, **kwargs) -> None:
        super().__init__(config, max_history, num_vectors, **kwargs)
        self.heads = tf.keras.layers.Dense(num_vectors * config.dim, use_bias=False) if num_vectors > 1 else None

    def vectors(self, events: tf.Tensor, present: tf.Tensor, step: tf.Tensor | None) -> tf.Tensor:
        """See Tokenizer."""
        states = self.states(events, present, step)
        vectors = states if self.heads is None else self.heads(states)
        batch, length = tf.unstack(tf.shape(present))
        return tf.reshape(vectors, [batch, length, self.num_vectors, self.config.dim])

    @abc.abstractmethod
    def states(self, events: tf.Tensor, present: tf.Tensor, step: tf.Tensor | None) -> tf.Tensor:
        """The state `[B, T, D]` of each position; arguments as of `vectors`."""
