"""Code keys (protos/codes.py) in the graph."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from protos.codes import CodeSpace


def encode(codes: tf.Tensor, space: CodeSpace) -> tf.Tensor:
    """Keys `[P, K_u]` int64 of codes `[P, K_u, M]`: token k has slot k, or all the only slot."""
    slots = tf.constant(np.arange(codes.shape[1], dtype=np.int64) % space.num_slots)
    return slots * space.codes_per_slot + tf.reduce_sum(tf.cast(codes, tf.int64) * _weights(space), -1)


def decode(keys: tf.Tensor, space: CodeSpace) -> tuple[tf.Tensor, tf.Tensor]:
    """Slots `[C]` and codes `[C, M]`, both int64, of keys `[C]`."""
    codes = (keys % space.codes_per_slot)[:, None] // _weights(space) % space.num_codewords
    return keys // space.codes_per_slot, codes


def _weights(space: CodeSpace) -> tf.Tensor:
    return tf.constant(space.num_codewords ** np.arange(space.num_codebooks, dtype=np.int64))
