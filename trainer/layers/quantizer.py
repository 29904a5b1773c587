"""The vector quantizer: tokens become codes; codewords follow the tokens by moving averages."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.config import QuantizerConfig
from trainer.layers import code_keys, code_usage, replicas
from trainer.layers.assignment import assign, size_penalty
from trainer.layers.codebook_updates import Statistics, batch_statistics, random_parts, revive
from trainer.layers.gradients import GRADIENTS
from trainer.layers.quantized import Quantized

__all__ = ["Quantized", "VectorQuantizer"]

_TINY = 1e-6


class VectorQuantizer(tf.keras.layers.Layer):
    """Replaces each part of a token by the nearest codeword of its codebook.

        code_m = argmin_n || part_m - C[slot, m, n] ||^2 + size_discount * penalty[slot, m, n]

    Ties go to the smaller n; for the penalty see `assignment.size_penalty`. Codebooks are not trained
    by gradient but by exponential moving averages over the parts assigned to each codeword (van den
    Oord et al. 2017, appendix A.1), summed over replicas:

        count <- decay * count + (1 - decay) * n,   sum <- decay * sum + (1 - decay) * sum_of_parts
        C     <- sum / count

    `residual` quantises each of V query vectors in L levels: a token is what the codewords of the
    levels before it left over, so their sum approaches the vector. Token `v * L + l` is level l of
    vector v, and its slot. Of `separate` each vector is a token with codebooks of its own; of
    `product` they share M codebooks, over D / M dimensions each. `none` has no codewords and leaves
    the vectors as they are.

    Args:
      config: structure and sizes.
      dim: D.
      seed: of the codebooks before k-means places them, and of revival.

    Raises:
      ValueError: M does not divide D.
    """

    def __init__(self, config: QuantizerConfig, dim: int, seed: int = 0, **kwargs) -> None:
        super().__init__(**kwargs)
        if dim % config.num_codebooks:
            raise ValueError(f"num_codebooks {config.num_codebooks} does not divide dim {dim}")
        self.config, self.dim, self.seed = config, dim, seed
        words = 0 if config.structure == "none" else config.num_codewords
        shape = (config.num_slots, config.num_codebooks, words, dim // config.num_codebooks)
        start = np.random.default_rng(seed).normal(size=shape, scale=dim**-0.5).astype(np.float32)
        self.codebooks = self._state("codebooks", start)
        self.counts = self._state("counts", np.ones(shape[:3], np.float32))
        self.sums = self._state("sums", start)
        self.active = self._state("active", np.zeros((), np.bool_))

    def _state(self, name: str, value: np.ndarray) -> tf.Variable:
        # ONLY_FIRST_REPLICA: every replica computes the same new value from summed statistics.
        return self.add_weight(
            name=name,
            shape=value.shape,
            dtype=tf.as_dtype(value.dtype),
            initializer=lambda shape, dtype=None: tf.constant(value, dtype),
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def call(self, queries: tf.Tensor) -> Quantized:
        """Quantises P queries.

        Args:
          queries: `[P, V, D]`, V = `config.num_input_vectors`.

        Returns:
          Quantized; before `activate`, the vectors themselves are the `output` (of `residual` at the
          first level; at the others it is zero). For "none" codewords are tokens without gradient,
          codes are 0 and distances are `[P, K_u, M, 0]`.

        Raises:
          ValueError: queries of another shape.
        """
        expected = [None, self.config.num_input_vectors, self.dim]
        if not queries.shape.is_compatible_with(expected):
            raise ValueError(f"queries {queries.shape} given; structure {self.config.structure!r} expects {expected}")
        if self.config.structure == "none":
            return self._as_they_are(queries)
        tokens, distances, codes, codewords = self._levels(queries)
        codewords, keys = tf.stop_gradient(codewords), code_keys.encode(codes, self.config.code_space)
        return Quantized(tokens, codewords, self._through(tokens, codewords), codes, keys, distances)

    def _as_they_are(self, tokens: tf.Tensor) -> Quantized:
        counted = [tf.shape(tokens)[0], self.config.num_query_tokens, self.config.num_codebooks]
        codes, distances = tf.zeros(counted, tf.int32), tf.zeros([*counted, 0])
        keys = code_keys.encode(codes, self.config.code_space)
        return Quantized(tokens, tf.stop_gradient(tokens), tokens, codes, keys, distances)

    def _levels(self, queries: tf.Tensor) -> list[tf.Tensor]:
        """Tokens, distances, codes and codewords, each `[P, K_u, ...]`; only `residual` has many levels."""
        config = self.config
        levels = [config.num_slots // config.num_levels, config.num_levels]
        codebooks = tf.reshape(self.codebooks, [*levels, *self.codebooks.shape[1:]])
        penalties = None
        if config.size_discount:
            penalties = config.size_discount * size_penalty(self.codebooks, self.counts)
            penalties = tf.reshape(penalties, [*levels, *self.counts.shape[1:]])
        left, found = queries, []
        for level in range(config.num_levels):
            penalty = None if penalties is None else penalties[:, level]
            distances, codes, codewords = assign(left, codebooks[:, level], penalty)
            found.append((left, distances, codes, codewords))
            left -= tf.stop_gradient(codewords)
        stacked = (tf.stack(values, 2) for values in zip(*found, strict=True))
        return [tf.reshape(values, [-1, config.num_query_tokens, *values.shape[3:]]) for values in stacked]

    def _through(self, tokens: tf.Tensor, codewords: tf.Tensor) -> tf.Tensor:
        """Codewords forward, the gradient by `config.gradient`; the query vectors before `activate`."""
        config = self.config
        parts = [-1, config.num_query_tokens, config.num_codebooks, self.dim // config.num_codebooks]
        quantised = GRADIENTS[config.gradient](tf.reshape(tokens, parts), tf.reshape(codewords, parts))
        quantised = tf.reshape(quantised, [-1, *tokens.shape[1:]])
        return tf.where(self.active, quantised, self.unquantized(tokens))

    def unquantized(self, tokens: tf.Tensor) -> tf.Tensor:
        """The output of tokens `[P, K_u, D]` left as they are; of levels the first is the whole vector."""
        config = self.config
        first = (np.arange(config.num_query_tokens) % config.num_levels == 0).astype(np.float32)
        return tokens * first[:, None]

    def queries_of(self, tokens: tf.Tensor) -> tf.Tensor:
        """The query vectors `[P, V, D]` that gave tokens `[P, K_u, D]`."""
        return tokens[:, :: self.config.num_levels]

    def codewords_of(self, keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Codewords `[C, D]` and slots `[C]` int32 of code keys `[C]` int64; "none" has no codewords."""
        slots, codes = code_keys.decode(keys, self.config.code_space)
        books = tf.broadcast_to(tf.range(self.config.num_codebooks, dtype=tf.int64), tf.shape(codes))
        indices = tf.stack([tf.broadcast_to(slots[:, None], tf.shape(codes)), books, codes], -1)
        parts = tf.gather_nd(tf.convert_to_tensor(self.codebooks), indices)
        return tf.reshape(parts, [-1, self.dim]), tf.cast(slots, tf.int32)

    def commitment(self, quantized: Quantized) -> tf.Tensor:
        """Squared distance `[P]` between tokens and codewords, summed over tokens; 0 before `activate`."""
        distance = tf.reduce_sum((quantized.tokens - quantized.codewords) ** 2, [1, 2])
        return tf.where(self.active, distance, tf.zeros_like(distance))

    def balance(self, quantized: Quantized) -> tf.Tensor:
        """How unevenly the batch uses its codes (`code_usage.imbalance`), unweighted; 0 before `activate`."""
        if self.config.structure == "none":
            return tf.zeros([])
        return tf.where(self.active, code_usage.imbalance(quantized.distances, self.config.num_slots), 0.0)

    def diagnostics(self, quantized: Quantized) -> dict[str, tf.Tensor]:
        """Perplexity, dead codes and quantisation error of a batch (`code_usage.diagnostics`)."""
        return code_usage.diagnostics(quantized, self.config)

    @property
    def is_active(self) -> bool:
        """Whether there are codes, as of now; inside a graph, as of when it is made."""
        with tf.init_scope():
            return bool(self.active.numpy())

    def update(self, quantized: Quantized, step: tf.Tensor, share: replicas.Share | None = None) -> None:
        """One step of the moving averages; call it after the gradient step, in training only.

        Args:
          quantized: of this step's batch; its codes were taken from the codebooks as they are now.
          step: training step, for the choice of tokens that revive dead codewords.
          share: which queries of the batch these are; None for all of them.
        """
        if self.config.structure == "none":
            return
        found = [*batch_statistics(quantized, self.config)]
        if self.config.revive_fraction:
            seed = tf.stack([tf.constant(self.seed + 7, tf.int64), tf.cast(step, tf.int64)])
            found.append(random_parts(quantized, self.config, seed, share))
        counts, sums, *placed = replicas.total(found)
        decay = self.config.decay
        averages = Statistics(decay * self.counts + (1.0 - decay) * counts, decay * self.sums + (1.0 - decay) * sums)
        if placed:
            averages = revive(averages, Statistics(counts, sums), *placed, self.config)
        counts, sums = averages
        self.counts.assign(tf.where(self.active, counts, self.counts))
        self.sums.assign(tf.where(self.active, sums, self.sums))
        codebooks = sums / tf.maximum(counts, _TINY)[..., None]
        self.codebooks.assign(tf.where(self.active, codebooks, self.codebooks))

    def activate(self, codebooks: np.ndarray, counts: np.ndarray) -> None:
        """Starts quantising from given codewords.

        Args:
          codebooks: `[slots, M, N, D / M]`.
          counts: `[slots, M, N]` how many tokens of an average step each stands for, > 0.

        Raises:
          ValueError: a shape that does not fit this quantizer, or structure "none".
        """
        if self.config.structure == "none":
            raise ValueError("structure 'none' has no codewords to start from")
        if codebooks.shape != tuple(self.codebooks.shape) or counts.shape != tuple(self.counts.shape):
            raise ValueError(
                f"codebooks {codebooks.shape} and counts {counts.shape} given; expected"
                f" {tuple(self.codebooks.shape)} and {tuple(self.counts.shape)}"
            )
        self.codebooks.assign(codebooks)
        self.counts.assign(counts)
        self.sums.assign(codebooks * counts[..., None])
        self.active.assign(True)
