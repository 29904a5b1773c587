"""What the quantizer gives."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Quantized(NamedTuple):
    """What the quantizer makes of P queries.

    Attributes:
      tokens: `[P, K_u, D]` before quantisation.
      codewords: `[P, K_u, D]` the codewords assigned, no gradient.
      output: `[P, K_u, D]` codewords in the forward pass; carries the gradient to the tokens.
      codes: `[P, K_u, M]` int32.
      keys: `[P, K_u]` int64 code keys (protos/codes.py).
      distances: `[P, K_u, M, N]` squared distances of the parts to every codeword, plus what a size
        discount adds: the code is the smallest of them.
    """

    tokens: tf.Tensor
    codewords: tf.Tensor
    output: tf.Tensor
    codes: tf.Tensor
    keys: tf.Tensor
    distances: tf.Tensor
