"""A factorisation machine over the query token and the item tokens."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.layers.scorers.base import Costs, Interaction, by_slot

# A product of two projections: at the usual 0.1 it would start at a fifth of the inner product.
_STDDEV = 0.03


class Part(NamedTuple):
    """Of codes or of items: `factors [..., r]`, and `own [...]`, the terms of the sum without the other side."""

    factors: tf.Tensor
    own: tf.Tensor


class FactorizationMachine(Interaction):
    """A factorisation machine (Rendle 2010) over 1 + K_c fields: the query token and the item tokens.

        u     = A_slot q,  v_j = V_j c                       factor vectors of width r  (j = 1 .. K_c)
        S_int = a . q + b . c + sum_j <u, v_j> + sum_{j < k} <v_j, v_k>

    Only the pairs of fields with the token join a code with an item, and they share u. With
    v = sum_j v_j,

        S_int = (a . q)  +  (b . c + (|v|^2 - sum_j |v_j|^2) / 2)  +  <u, v>

    which is a part of the code, a part of the item and one inner product of width r a pair.

    Args: see Interaction.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.query_factors = self.slot_kernel("query_factors", self.config.product_dim, _STDDEV)
        self.item_factors = self.kernel("item_factors", self.dim, self.token_dim, stddev=_STDDEV)
        self.query_linear = self.kernel("query_linear", self.dim, stddev=_STDDEV)
        self.item_linear = self.kernel("item_linear", self.dim, stddev=_STDDEV)

    def code_part(self, codewords: tf.Tensor, slots: tf.Tensor) -> Part:
        """See Interaction."""
        tokens = self.scaled(codewords)
        return Part(by_slot(tokens, slots, self.query_factors), tf.linalg.matvec(tokens, self.query_linear))

    def item_part(self, items: tf.Tensor) -> Part:
        """See Interaction."""
        items = self.scaled(items)
        shape = [-1, self.config.num_item_tokens, self.config.product_dim]
        factors = tf.reshape(tf.matmul(items, self.item_factors), shape)
        total = tf.reduce_sum(factors, 1)
        products = tf.reduce_sum(tf.square(total), -1) - tf.reduce_sum(tf.square(factors), [1, 2])
        return Part(total, tf.linalg.matvec(items, self.item_linear) + 0.5 * products)

    def pairs(self, codes: Part, items: Part) -> tf.Tensor:
        """See Interaction."""
        return tf.matmul(codes.factors, items.factors, transpose_b=True) + codes.own[:, None] + items.own

    def aligned(self, codes: Part, items: Part) -> tf.Tensor:
        """See Interaction."""
        return tf.reduce_sum(codes.factors * items.factors, -1) + codes.own + items.own

    def costs(self) -> Costs:
        """See Interaction."""
        dim, width, inner = self.dim, self.config.product_dim, self.token_dim
        return Costs(
            per_code=dim + self.slot_cost(width) + 2 * dim,
            per_item=dim + 2 * dim * (inner + 1) + 3 * inner + 2 * width + 3,
            per_pair=2 * width + 2,
        )
