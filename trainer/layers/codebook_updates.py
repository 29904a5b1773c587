"""What codebooks learn from a batch: counts and sums of the parts assigned, and places for dead codewords."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.config import QuantizerConfig
from trainer.layers.quantized import Quantized
from trainer.layers.replicas import Share


class Statistics(NamedTuple):
    """Of the tokens of a batch, or of their moving averages.

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


def batch_statistics(quantized: Quantized, config: QuantizerConfig) -> Statistics:
    """Statistics of the tokens of a batch."""
    parts = parts_by_slot(quantized, config)
    books, words, part_dim = config.num_slots * config.num_codebooks, config.num_codewords, parts.shape[-1]
    codes = tf.reshape(by_slot(quantized.codes, config.num_slots), [books, -1])
    segments = tf.reshape(codes + tf.range(books)[:, None] * words, [-1])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(segments, tf.float32), segments, books * words)
    sums = tf.math.unsorted_segment_sum(tf.reshape(parts, [-1, part_dim]), segments, books * words)
    shape = [config.num_slots, config.num_codebooks, words]
    return Statistics(tf.reshape(counts, shape), tf.reshape(sums, [*shape, part_dim]))


def random_parts(
    quantized: Quantized, config: QuantizerConfig, seed: tf.Tensor, share: Share | None = None
) -> tf.Tensor:
    """For each codeword the part of a random token of its slot, `[slots, M, N, D / M]`; 0 of an empty batch.

    Args:
      quantized: of the batch, or of a replica's queries of it.
      config: structure and sizes.
      seed: `[2]` int64, of the choice.
      share: which queries of the batch these are, None for all. The choice is among the whole batch's: a part is 0
        where another replica has it, so that the sum over replicas is what one alone would have chosen.
    """
    parts, per_slot = parts_by_slot(quantized, config), config.num_query_tokens // config.num_slots
    size = tf.shape(quantized.codes, tf.int64)[0]
    numbers, total = (tf.range(size), size) if share is None else (share.numbers, share.total)
    shape = [config.num_slots, config.num_codebooks, config.num_codewords]
    most = tf.maximum(tf.cast(total, tf.int32) * per_slot, 1)
    draws = tf.cast(tf.random.stateless_uniform(shape, seed, 0, most, tf.int32), tf.int64)
    query = tf.reshape(draws // per_slot, [-1])
    places = tf.searchsorted(numbers, query, out_type=tf.int64)
    is_here = tf.gather(tf.concat([numbers, [-1]], 0), places) == query
    # The last of the padded parts is 0, and stands for what is not here.
    places = tf.reshape(tf.where(is_here, places, size), shape)
    chosen = tf.where(places < size, places * per_slot + draws % per_slot, size * per_slot)
    return tf.gather(tf.pad(parts, [[0, 0], [0, 0], [0, 1], [0, 0]]), chosen, batch_dims=2)


def revive(averages: Statistics, batch: Statistics, placed: tf.Tensor, config: QuantizerConfig) -> Statistics:
    """Puts codewords that are hardly used on tokens of the batch, with the mean count.

    Args:
      averages: moving averages after this step.
      batch: of the whole batch; if it is empty nothing is revived.
      placed: `[slots, M, N, D / M]` where to, by `random_parts`.
      config: its `revive_fraction` of the mean count is what "hardly" means.
    """
    counts, sums = averages
    mean = tf.reduce_mean(counts, -1, keepdims=True)
    dead = (counts < config.revive_fraction * mean) & tf.reduce_any(batch.counts > 0)
    return Statistics(tf.where(dead, mean, counts), tf.where(dead[..., None], placed * mean[..., None], sums))
