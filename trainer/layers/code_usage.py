"""How evenly tokens use the codes: a regulariser, and numbers to watch."""

from __future__ import annotations

import tensorflow as tf

from trainer.config import QuantizerConfig
from trainer.layers import replicas
from trainer.layers.codebook_updates import batch_statistics
from trainer.layers.quantized import Quantized

_TINY = 1e-6


def imbalance(distances: tf.Tensor, num_slots: int) -> tf.Tensor:
    """Divergence of the mean soft assignment, over all replicas, from an even one, a mean over slots and codebooks.

        KL(p || 1 / N) = sum_n p_n log(N p_n)       p = mean over tokens of softmax(-distances / scale)

    The scale, without gradient, is the mean gap between the two smallest distances: a typical token
    leans to its second codeword by 1 / e of the first, whatever the width and the level.

    Args:
      distances: `[P, K_u, M, N]`.
      num_slots: slots with codebooks of their own.

    Returns:
      A scalar in `[0, log N]`; 0 for an empty batch.
    """
    by_token = tf.reshape(distances, [-1, num_slots, *distances.shape[2:]])
    words = distances.shape[-1]
    nearest = -tf.math.top_k(-by_token, min(2, words)).values
    gaps = tf.reduce_sum(nearest[..., -1:] - nearest[..., :1], 0)
    gaps, tokens = replicas.total([gaps, tf.cast(tf.shape(by_token)[0], tf.float32)])
    gap = tf.math.divide_no_nan(gaps, tokens)
    soft = tf.nn.softmax(-by_token / tf.stop_gradient(tf.maximum(gap, _TINY)), -1)
    (soft,) = replicas.total([tf.reduce_sum(soft, 0)])
    mean = tf.math.divide_no_nan(soft, tokens)
    return tf.reduce_mean(tf.reduce_sum(tf.math.xlogy(mean, words * mean), -1))


def diagnostics(quantized: Quantized, config: QuantizerConfig) -> dict[str, tf.Tensor]:
    """What a batch says of the codebooks; nothing for structure "none".

    Returns:
      `perplexity` `[slots, M]`: exp of the entropy of the codes, N where all are used alike;
      `dead_codes` `[slots, M]`: share of codewords that no token took;
      `error` `[slots]`: squared error as a share of the tokens' energy, sum |e - q|^2 / sum |e|^2;
      `total_error`: the same of whole query vectors, each against the sum of its levels' codewords.
    """
    if config.structure == "none":
        return {}
    counts = batch_statistics(quantized, config).counts
    shares = tf.math.divide_no_nan(counts, tf.reduce_sum(counts, -1, keepdims=True))
    levels = [-1, config.num_input_vectors, config.num_levels, quantized.tokens.shape[-1]]
    tokens = tf.reshape(quantized.tokens, levels)
    left = tokens - tf.reshape(quantized.codewords, levels)
    return {
        "perplexity": tf.exp(-tf.reduce_sum(tf.math.xlogy(shares, shares), -1)),
        "dead_codes": tf.reduce_mean(tf.cast(counts == 0, tf.float32), -1),
        "error": tf.math.divide_no_nan(_energy(left, config.num_slots), _energy(tokens, config.num_slots)),
        "total_error": tf.math.divide_no_nan(_energy(left[:, :, -1], 1)[0], _energy(tokens[:, :, 0], 1)[0]),
    }


def _energy(vectors: tf.Tensor, num_slots: int) -> tf.Tensor:
    """Sums `[slots]` of squares of vectors whose slots follow one another."""
    return tf.reduce_sum(tf.reshape(vectors, [-1, num_slots, vectors.shape[-1]]) ** 2, [0, 2])
