"""How the gradient passes a quantizer: functions of tokens and codewords `[..., d]` that give the codewords."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_TINY = 1e-6


def straight_through(tokens: tf.Tensor, codewords: tf.Tensor) -> tf.Tensor:
    """Codewords forward; the gradient of the output is the token's (Bengio et al. 2013)."""
    return tokens + tf.stop_gradient(codewords - tokens)


def commit_only(tokens: tf.Tensor, codewords: tf.Tensor) -> tf.Tensor:
    """Codewords forward; no gradient, tokens learn from the commitment loss alone."""
    return tf.stop_gradient(codewords)


def rotation(tokens: tf.Tensor, codewords: tf.Tensor) -> tf.Tensor:
    """Codewords forward; backward the gradient turns as the codeword turns into the token.

        output = |q| / |e| R e,    R = I - 2 r r^T + 2 q' e'^T,    r = (e' + q') / |e' + q'|

    for token e and codeword q, e' and q' their directions; R and the ratio take no gradient (the
    rotation trick, Fifty et al. 2024). Of opposite vectors r is 0 and R the reflection I - 2 e' e'^T.
    Where token or codeword is zero there is no direction to turn to: the gradient goes straight through.
    """
    token, codeword = tf.stop_gradient(tokens), tf.stop_gradient(codewords)
    length, target = tf.norm(token, axis=-1, keepdims=True), tf.norm(codeword, axis=-1, keepdims=True)
    start, end = tf.math.l2_normalize(token, -1), tf.math.l2_normalize(codeword, -1)
    # Below this epsilon the sum of opposite unit vectors is rounding noise; it must not become a direction.
    middle = tf.math.l2_normalize(start + end, -1, epsilon=_TINY)
    turned = tokens - 2.0 * middle * _dot(middle, tokens) + 2.0 * end * _dot(start, tokens)
    turned *= target / tf.maximum(length, _TINY)
    turned = tf.where(tf.minimum(length, target) > _TINY, turned, tokens)
    return straight_through(turned, codeword)


def _dot(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(left * right, -1, keepdims=True)


GRADIENTS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "straight_through": straight_through,
    "commit_only": commit_only,
    "rotation": rotation,
}
