"""What codebooks learn from a batch: counts and sums of the parts assigned, and places for dead codewords."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.config import QuantizerConfig
from trainer.layers.quantized import Quantized


class Statistics(NamedTuple):
    """Of the valid tokens of a batch, or of their moving averages.

    Attributes:
      counts: `[slots, M, N]` tokens assigned to each codeword.
      sums: `[slots, M, N, D / M]` sums of their parts.
    """

    counts: tf.Tensor
    sums: tf.Tensor


def by_slot(values: tf.Tensor, num_slots: int) -> tf.Tensor:
    """`[P, K_u, M, ...]` to `[slots, M, P * K_u / slots, ...]`: token k to slot k, or all to the only slot."""
    grouped = tf.reshape(values, [-1, num_slots, *values.shape[2:]])
    return tf.transpose(grouped, [1, 2, 0, *range(3, len(grouped.shape))])


def parts_by_slot(quantized: Quantized, config: QuantizerConfig) -> tf.Tensor:
    """Parts `[slots, M, P * K_u / slots, D / M]` of the tokens, no gradient."""
    tokens, dim = tf.stop_gradient(quantized.tokens), quantized.tokens.shape[-1]
    shape = [-1, config.num_query_tokens, config.num_codebooks, dim // config.num_codebooks]
    return by_slot(tf.reshape(tokens, shape), config.num_slots)


def batch_statistics(quantized: Quantized, valid: tf.Tensor, config: QuantizerConfig) -> Statistics:
    """Statistics of the tokens of the queries `valid` `[P]`."""
    parts = parts_by_slot(quantized, config)
    weights = tf.broadcast_to(tf.cast(valid, tf.float32)[:, None, None], tf.shape(quantized.codes))
    weights = by_slot(tf.ensure_shape(weights, quantized.codes.shape), config.num_slots)
    books, words, part_dim = config.num_slots * config.num_codebooks, config.num_codewords, parts.shape[-1]
    codes = tf.reshape(by_slot(quantized.codes, config.num_slots), [books, -1])
    segments = tf.reshape(codes + tf.range(books)[:, None] * words, [-1])
    counts = tf.math.unsorted_segment_sum(tf.reshape(weights, [-1]), segments, books * words)
    sums = tf.math.unsorted_segment_sum(tf.reshape(parts * weights[..., None], [-1, part_dim]), segments, books * words)
    shape = [config.num_slots, config.num_codebooks, words]
    return Statistics(tf.reshape(counts, shape), tf.reshape(sums, [*shape, part_dim]))


def revive(
    averages: Statistics, quantized: Quantized, valid: tf.Tensor, config: QuantizerConfig, seed: tf.Tensor
) -> Statistics:
    """Puts codewords that are hardly used on random valid tokens of their slot, with the mean count.

    Args:
      averages: moving averages after this step.
      quantized: of the batch.
      valid: `[P]` bool; without a valid query nothing is revived.
      config: its `revive_fraction` of the mean count is what "hardly" means.
      seed: `[2]` int64, of the choice.
    """
    rows = tf.where(valid)[:, 0]
    per_slot = config.num_query_tokens // config.num_slots

    def revived() -> Statistics:
        counts, sums = averages
        mean = tf.reduce_mean(counts, -1, keepdims=True)
        dead = counts < config.revive_fraction * mean
        draws = tf.random.stateless_uniform(counts.shape, seed, 0, tf.size(rows) * per_slot, tf.int32)
        chosen = tf.gather(rows, draws // per_slot) * per_slot + tf.cast(draws % per_slot, tf.int64)
        placed = tf.gather(parts_by_slot(quantized, config), chosen, batch_dims=2)  # [slots, M, N, D / M]
        return Statistics(tf.where(dead, mean, counts), tf.where(dead[..., None], placed * mean[..., None], sums))

    return tf.cond(tf.size(rows) > 0, revived, lambda: averages)
