"""The vector quantizer: tokens become codes; codewords follow the tokens by moving averages."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from trainer.config import QuantizerConfig

_TINY = 1e-6


class Quantized(NamedTuple):
    """What the quantizer makes of P queries.

    Attributes:
      tokens: `[P, K_u, D]` before quantisation.
      codewords: `[P, K_u, D]` the nearest codewords, no gradient.
      output: `[P, K_u, D]` codewords in the forward pass; carries the gradient to the tokens.
      codes: `[P, K_u, M]` int32.
      keys: `[P, K_u]` int64 code keys (protos/codes.py).
      distances: `[P, K_u, M, N]` squared distances of the parts to every codeword.
    """

    tokens: tf.Tensor
    codewords: tf.Tensor
    output: tf.Tensor
    codes: tf.Tensor
    keys: tf.Tensor
    distances: tf.Tensor


class VectorQuantizer(tf.keras.layers.Layer):
    """Replaces each part of a token by the nearest codeword of its codebook.

        code_m = argmin_n || part_m - C[slot, m, n] ||^2                          (ties: smaller n)

    Codebooks are not trained by gradient but by exponential moving averages over the parts
    assigned to each codeword (van den Oord et al. 2017, appendix A.1), summed over replicas:

        count <- decay * count + (1 - decay) * n,   sum <- decay * sum + (1 - decay) * sum_of_parts
        C     <- sum / count

    `residual` gives token i what the codewords of the tokens before it left over, so the sum of
    all codewords approaches the query vector; each slot has a codebook of its own. `product` takes
    K_u independent tokens that share M codebooks over D / M dimensions.

    Args:
      config: structure and sizes.
      dim: D.
      seed: of the codebooks before k-means places them, and of revival.
    """

    def __init__(self, config: QuantizerConfig, dim: int, seed: int = 0, **kwargs) -> None:
        super().__init__(**kwargs)
        if dim % config.num_codebooks:
            raise ValueError(f"num_codebooks {config.num_codebooks} does not divide dim {dim}")
        self.config, self.dim, self.seed = config, dim, seed
        self.part_dim = dim // config.num_codebooks
        shape = (config.num_slots, config.num_codebooks, config.num_codewords, self.part_dim)
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
          queries: `[P, D]` for `residual`, `[P, K_u, D]` for `product`.

        Returns:
          Quantized; before `activate`, `output` is the tokens as they are.
        """
        if self.config.structure == "residual":
            tokens, distances, codes, codewords = self._residual(queries)
        else:
            tokens, distances, codes, codewords = queries, *self._nearest(queries, self.codebooks[0])
        codewords = tf.stop_gradient(codewords)
        return Quantized(tokens, codewords, self._through(tokens, codewords), codes, self._keys(codes), distances)

    def _nearest(self, tokens: tf.Tensor, codebooks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Nearest codewords of tokens `[..., D]` in codebooks `[M, N, D / M]`."""
        config = self.config
        parts = tf.reshape(tokens, [-1, config.num_codebooks, self.part_dim])
        products = tf.einsum("pmd,mnd->pmn", parts, codebooks)
        distances = tf.reduce_sum(parts**2, -1, keepdims=True) - 2.0 * products + tf.reduce_sum(codebooks**2, -1)
        codes = tf.argmin(distances, -1, output_type=tf.int32)
        chosen = tf.gather(codebooks, tf.transpose(codes), batch_dims=1)  # [M, P, D / M]
        leading = tf.shape(tokens)[:-1]
        codewords = tf.reshape(tf.transpose(chosen, [1, 0, 2]), tf.shape(tokens))
        codes = tf.reshape(codes, tf.concat([leading, [config.num_codebooks]], 0))
        distances = tf.reshape(distances, tf.concat([leading, [config.num_codebooks, config.num_codewords]], 0))
        return distances, codes, codewords

    def _residual(self, queries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        left, levels = queries, []
        for slot in range(self.config.num_query_tokens):
            distances, codes, codewords = self._nearest(left, self.codebooks[slot])
            levels.append((left, distances, codes, codewords))
            left -= tf.stop_gradient(codewords)
        tokens, distances, codes, codewords = (tf.stack(level, 1) for level in zip(*levels, strict=True))
        return tokens, distances, codes, codewords

    def _through(self, tokens: tf.Tensor, codewords: tf.Tensor) -> tf.Tensor:
        """Codewords forward; backward the gradient goes to the tokens, or nowhere (`commit_only`)."""
        if self.config.gradient == "commit_only":
            quantised = codewords
        else:
            quantised = tokens + tf.stop_gradient(codewords - tokens)
        if self.config.structure == "residual":
            # Unquantised, the first token is the whole query and nothing is left for the others.
            first = tf.one_hot(0, self.config.num_query_tokens)[:, None]
            tokens *= first
        return tf.where(self.active, quantised, tokens)

    def _keys(self, codes: tf.Tensor) -> tf.Tensor:
        space = self.config.code_space
        weights = tf.constant(space.num_codewords ** np.arange(space.num_codebooks, dtype=np.int64))
        slots = tf.constant(np.arange(self.config.num_query_tokens, dtype=np.int64) % space.num_slots)
        return slots * space.codes_per_slot + tf.reduce_sum(tf.cast(codes, tf.int64) * weights, -1)

    def codewords_of(self, keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Codewords `[C, D]` and slots `[C]` int32 of code keys `[C]` int64."""
        space = self.config.code_space
        weights = tf.constant(space.num_codewords ** np.arange(space.num_codebooks, dtype=np.int64))
        slots = keys // space.codes_per_slot
        codes = (keys % space.codes_per_slot)[:, None] // weights % space.num_codewords
        books = tf.broadcast_to(tf.range(space.num_codebooks, dtype=tf.int64), tf.shape(codes))
        indices = tf.stack([tf.broadcast_to(slots[:, None], tf.shape(codes)), books, codes], -1)
        parts = tf.gather_nd(self.codebooks, indices)
        return tf.reshape(parts, [-1, self.dim]), tf.cast(slots, tf.int32)

    def commitment(self, quantized: Quantized) -> tf.Tensor:
        """Squared distance `[P]` between tokens and codewords, summed over tokens; 0 before `activate`."""
        distance = tf.reduce_sum((quantized.tokens - quantized.codewords) ** 2, [1, 2])
        return tf.where(self.active, distance, tf.zeros_like(distance))

    def update(self, quantized: Quantized, valid: tf.Tensor, step: tf.Tensor) -> None:
        """One step of the moving averages; call it after the gradient step, in training only.

        Args:
          quantized: of this step's batch; its codes were taken from the codebooks as they are now.
          valid: `[P]` bool, the queries that count.
          step: training step, for the choice of tokens that revive dead codewords.
        """
        parts, counts, sums = self._statistics(quantized, valid)
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            counts, sums = context.all_reduce(tf.distribute.ReduceOp.SUM, [counts, sums])
        decay = self.config.decay
        counts = decay * self.counts + (1.0 - decay) * counts
        sums = decay * self.sums + (1.0 - decay) * sums
        counts, sums = self._revive(counts, sums, parts, valid, step)
        keep = tf.logical_not(self.active)
        self.counts.assign(tf.where(keep, self.counts, counts))
        self.sums.assign(tf.where(keep, self.sums, sums))
        self.codebooks.assign(tf.where(keep, self.codebooks, sums / tf.maximum(counts, _TINY)[..., None]))

    def _by_slot(self, values: tf.Tensor) -> tf.Tensor:
        """`[P, K_u, M, ...]` to `[slots, M, P * K_u / slots, ...]`."""
        config = self.config
        shape = tf.shape(values)
        per_slot = config.num_query_tokens // config.num_slots
        grouped = tf.reshape(values, tf.concat([[shape[0], per_slot, config.num_slots], shape[2:]], 0))
        order = [2, 3, 0, 1, *range(4, len(values.shape) + 1)]
        grouped = tf.transpose(grouped, order)
        return tf.reshape(
            grouped, tf.concat([[config.num_slots, config.num_codebooks, shape[0] * per_slot], shape[3:]], 0)
        )

    def _statistics(self, quantized: Quantized, valid: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        config = self.config
        shape = tf.shape(quantized.tokens)
        tokens = tf.stop_gradient(quantized.tokens)
        parts = self._by_slot(tf.reshape(tokens, [shape[0], shape[1], config.num_codebooks, self.part_dim]))
        codes = self._by_slot(quantized.codes)
        weights = tf.broadcast_to(tf.cast(valid, tf.float32)[:, None, None], tf.shape(quantized.codes))
        weights = self._by_slot(weights)
        books = config.num_slots * config.num_codebooks
        segments = tf.reshape(codes, [books, -1]) + tf.range(books)[:, None] * config.num_codewords
        flat = tf.reshape(segments, [-1])
        total = books * config.num_codewords
        counts = tf.math.unsorted_segment_sum(tf.reshape(weights, [-1]), flat, total)
        sums = tf.math.unsorted_segment_sum(tf.reshape(parts * weights[..., None], [-1, self.part_dim]), flat, total)
        return parts, tf.reshape(counts, self.counts.shape), tf.reshape(sums, self.sums.shape)

    def _revive(
        self, counts: tf.Tensor, sums: tf.Tensor, parts: tf.Tensor, valid: tf.Tensor, step: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Puts codewords that are hardly used on random valid tokens of the batch."""
        if self.config.revive_fraction == 0:
            return counts, sums
        mean = tf.reduce_mean(counts, -1, keepdims=True)
        dead = counts < self.config.revive_fraction * mean
        rows = tf.where(valid)[:, 0]
        seed = tf.stack([tf.constant(self.seed + 7, tf.int64), tf.cast(step, tf.int64)])
        per_slot = self.config.num_query_tokens // self.config.num_slots
        # A batch without a valid query revives nothing; row 0 stands in so that the gather is legal.
        dead &= tf.size(rows) > 0
        rows = tf.cond(tf.size(rows) > 0, lambda: rows, lambda: tf.zeros([1], tf.int64))
        draws = tf.random.stateless_uniform(counts.shape, seed, 0, tf.size(rows) * per_slot, tf.int32)
        chosen = tf.gather(rows, draws // per_slot) * per_slot + tf.cast(draws % per_slot, tf.int64)
        placed = tf.gather(parts, chosen, batch_dims=2)  # [slots, M, N, D / M]
        return tf.where(dead, mean, counts), tf.where(dead[..., None], placed * mean[..., None], sums)

    def activate(self, codebooks: np.ndarray, counts: np.ndarray) -> None:
        """Starts quantising from given codewords.

        Args:
          codebooks: `[slots, M, N, D / M]`.
          counts: `[slots, M, N]` how many tokens of an average step each stands for, > 0.

        Raises:
          ValueError: a shape that does not fit this quantizer.
        """
        if codebooks.shape != tuple(self.codebooks.shape) or counts.shape != tuple(self.counts.shape):
            raise ValueError(
                f"codebooks {codebooks.shape} and counts {counts.shape} given; expected"
                f" {tuple(self.codebooks.shape)} and {tuple(self.counts.shape)}"
            )
        self.codebooks.assign(codebooks)
        self.counts.assign(counts)
        self.sums.assign(codebooks * counts[..., None])
        self.active.assign(True)
