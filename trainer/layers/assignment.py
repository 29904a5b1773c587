"""Which codeword a part of a token takes."""

from __future__ import annotations

import tensorflow as tf


def assign(
    tokens: tf.Tensor, codebooks: tf.Tensor, penalty: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Codes of tokens whose slots follow one another; ties go to the smaller code.

    Args:
      tokens: `[P, V, D]`; token v belongs to slot v, or every token to the only slot.
      codebooks: `[S, M, N, D / M]`, S = V or 1.
      penalty: `[S, M, N]` what is added to a codeword's squared distance; None for the nearest.

    Returns:
      Distances `[P, V, M, N]`, codes `[P, V, M]` int32 and codewords `[P, V, D]`.
    """
    slots, books, words, part_dim = codebooks.shape
    vectors, dim = tokens.shape[1:]
    parts = tf.reshape(tokens, [-1, slots, books, part_dim])
    products = tf.einsum("psmd,smnd->psmn", parts, codebooks)
    distances = tf.reduce_sum(parts**2, -1, keepdims=True) - 2.0 * products + tf.reduce_sum(codebooks**2, -1)
    if penalty is not None:
        distances += penalty
    codes = tf.argmin(distances, -1, output_type=tf.int32)
    chosen = tf.gather(codebooks, tf.transpose(codes, [1, 2, 0]), batch_dims=2)  # [S, M, P * V / S, D / M]
    codewords = tf.reshape(tf.transpose(chosen, [2, 0, 1, 3]), [-1, vectors, dim])
    return tf.reshape(distances, [-1, vectors, books, words]), tf.reshape(codes, [-1, vectors, books]), codewords


def size_penalty(codebooks: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """How much a codeword is put off for the tokens it stands for already, in units of squared distance.

        penalty_n = spread * log(1 + N share_n)       spread = sum_n share_n || C_n - sum_k share_k C_k ||^2

    Nothing for a codeword without tokens, log 2 of the spread for the average one. It depends on
    state alone, never on the batch, so a query gets the same code in training and when served.

    Args:
      codebooks: `[S, M, N, D / M]`.
      counts: `[S, M, N]` average counts.

    Returns:
      `[S, M, N]`.
    """
    shares = tf.math.divide_no_nan(counts, tf.reduce_sum(counts, -1, keepdims=True))
    centre = tf.reduce_sum(shares[..., None] * codebooks, -2, keepdims=True)
    spread = tf.reduce_sum(shares * tf.reduce_sum((codebooks - centre) ** 2, -1), -1, keepdims=True)
    return spread * tf.math.log1p(codebooks.shape[2] * shares)
