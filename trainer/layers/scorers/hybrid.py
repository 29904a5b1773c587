"""The hybrid scorer's interaction: an MLP over products of query token and item tokens."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.layers.scorers.base import Costs, Interaction, by_slot


class CodePart(NamedTuple):
    """Of C codes: `products [C, K]` (P_j q of all j), `offset [C, H]` (A_slot q + b)."""

    products: tf.Tensor
    offset: tf.Tensor


class ItemPart(NamedTuple):
    """Of I items: `products [I, K]` (V_j c of all j), `offset [I, H]` (B c), `own [I]` (w . B c)."""

    products: tf.Tensor
    offset: tf.Tensor
    own: tf.Tensor


class HybridScorer(Interaction):
    """An MLP over products of the query token and K_c item tokens (the hybrid scorer of SparCode).

        g_j   = (P_j q) * (V_j c)        products, K_c vectors of width r        (j = 1 .. K_c)
        h     = relu(A_slot q + B c + sum_j W_j g_j + b)                          H units
        S_int = w . h

    The first layer is never computed on the concatenation: `A_slot q + b` is made once a code and
    `B c` once an item, and W_j (P_j q * V_j c) = (W_j diag(P_j q)) (V_j c) is, for all pairs
    together, one matrix product of inner size K = K_c r. It adds the code's offset on the way, as a
    (K+1)-th product, and the item's is never added: relu(x + y) = max(x, -y) + y, of which the second
    term is summed once an item. So all pairs of a call are gone through three times, not seven.

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
        offset = tf.matmul(items, self.item_offset)
        return ItemPart(tf.matmul(items, self.item_tokens), offset, tf.linalg.matvec(offset, self.output_weights))

    def pairs(self, codes: CodePart, items: ItemPart) -> tf.Tensor:
        """See Interaction."""
        first = tf.concat([self.mix[:, None] * codes.products, tf.transpose(codes.offset)[..., None]], -1)
        last = tf.concat([items.products, tf.ones_like(items.own)[:, None]], -1)
        hidden = tf.matmul(tf.reshape(first, [-1, self.token_dim + 1]), last, transpose_b=True)
        hidden = tf.reshape(hidden, tf.stack([self.config.hidden, tf.shape(codes.offset)[0], tf.shape(items.own)[0]]))
        rectified = tf.maximum(hidden, -tf.transpose(items.offset)[:, None])
        return tf.tensordot(self.output_weights, rectified, 1) + items.own

    def aligned(self, codes: CodePart, items: ItemPart) -> tf.Tensor:
        """See Interaction."""
        hidden = tf.matmul(codes.products * items.products, self.mix, transpose_b=True)
        return tf.linalg.matvec(tf.nn.relu(hidden + codes.offset + items.offset), self.output_weights)

    def costs(self) -> Costs:
        """See Interaction."""
        dim, inner, hidden = self.dim, self.token_dim, self.config.hidden
        return Costs(
            per_code=dim + 2 * dim * inner + self.slot_cost(hidden) + hidden + hidden * inner,
            per_item=dim + 2 * dim * (inner + hidden) + 3 * hidden,
            per_pair=2 * hidden * (inner + 1) + 3 * hidden + 1,
        )
