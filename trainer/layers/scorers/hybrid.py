"""The hybrid scorer's interaction: an MLP over products of query token and item tokens."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.layers.scorers.base import Costs, Interaction, by_slot, pair_sums


class CodePart(NamedTuple):
    """Of C codes: `products [C, K]` (P_j q of all j), `offset [C, H]` (A_slot q + b)."""

    products: tf.Tensor
    offset: tf.Tensor


class ItemPart(NamedTuple):
    """Of I items: `products [I, K]` (V_j c of all j), `offset [I, H]` (B c)."""

    products: tf.Tensor
    offset: tf.Tensor


class HybridScorer(Interaction):
    """An MLP over products of the query token and K_c item tokens (the hybrid scorer of SparCode).

        g_j   = (P_j q) * (V_j c)        products, K_c vectors of width r        (j = 1 .. K_c)
        h     = relu(A_slot q + B c + sum_j W_j g_j + b)                          H units
        S_int = w . h

    The first layer is never computed on the concatenation: `A_slot q + b` is made once a code and
    `B c` once an item, and W_j (P_j q * V_j c) = (W_j diag(P_j q)) (V_j c) is, for all pairs
    together, one matrix product of inner size K = K_c r.

    Args: see Interaction.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        dim, inner, hidden = self.dim, self.token_dim, self.config.hidden
        self.query_products = self.kernel("query_products", dim, inner)
        self.item_tokens = self.kernel("item_tokens", dim, inner)
        self.mix = self.kernel("mix", hidden, inner)
        self.query_offset = self.slot_kernel("query_offset", hidden)
        self.item_offset = self.kernel("item_offset", dim, hidden)
        self.output_weights = self.kernel("output", hidden)
        self.hidden_bias = self.bias("hidden_bias", hidden)

    def code_part(self, codewords: tf.Tensor, slots: tf.Tensor) -> CodePart:
        """See Interaction."""
        tokens = self.scaled(codewords)
        offset = by_slot(tokens, slots, self.query_offset) + self.hidden_bias
        return CodePart(tf.matmul(tokens, self.query_products), offset)

    def item_part(self, items: tf.Tensor) -> ItemPart:
        """See Interaction."""
        items = self.scaled(items)
        return ItemPart(tf.matmul(items, self.item_tokens), tf.matmul(items, self.item_offset))

    def pairs(self, codes: CodePart, items: ItemPart) -> tf.Tensor:
        """See Interaction."""
        first = tf.reshape(self.mix[:, None] * codes.products, [-1, self.token_dim])
        sums = pair_sums(codes.offset, items.offset)
        hidden = tf.reshape(tf.matmul(first, items.products, transpose_b=True), tf.shape(sums)) + sums
        return tf.tensordot(self.output_weights, tf.nn.relu(hidden), 1)

    def aligned(self, codes: CodePart, items: ItemPart) -> tf.Tensor:
        """See Interaction."""
        hidden = tf.matmul(codes.products * items.products, self.mix, transpose_b=True)
        return tf.linalg.matvec(tf.nn.relu(hidden + codes.offset + items.offset), self.output_weights)

    def costs(self) -> Costs:
        """See Interaction."""
        dim, inner, hidden = self.dim, self.token_dim, self.config.hidden
        return Costs(
            per_code=dim + 2 * dim * inner + self.slot_cost(hidden) + hidden + hidden * inner,
            per_item=dim + 2 * dim * (inner + hidden),
            per_pair=2 * hidden * inner + 5 * hidden,
        )
