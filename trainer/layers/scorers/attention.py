"""Attention of the query token over the item tokens."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.layers.scorers.base import Costs, Interaction, by_slot, softmax_mean


class CodePart(NamedTuple):
    """Of C codes: `query [C, r]` (u)."""

    query: tf.Tensor


class ItemPart(NamedTuple):
    """Of I items: `tokens [I, K_c, r]` (c_j), `values [I, K_c]` (t_j)."""

    tokens: tf.Tensor
    values: tf.Tensor


class AttentionScorer(Interaction):
    """The query token attends over K_c item tokens and is scored against what it attended to.

        u     = A_slot q / sqrt(r),  c_j = V_j c             query and keys of width r  (j = 1 .. K_c)
        s_j   = <u, c_j>
        alpha = softmax(s)                                   over the K_c item tokens
        S_int = <u, sum_j alpha_j c_j> + sum_j alpha_j t_j   with values t_j = w_j . c

    The attended token is scored with the inner products that chose it: S_int = sum_j alpha_j
    (s_j + t_j), so a pair costs K_c inner products of width r and one softmax.

    Args: see Interaction.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.query_kernel = self.slot_kernel("query", self.config.product_dim)
        self.item_tokens = self.kernel("item_tokens", self.dim, self.token_dim)
        self.item_values = self.kernel("item_values", self.dim, self.config.num_item_tokens)

    def code_part(self, codewords: tf.Tensor, slots: tf.Tensor) -> CodePart:
        """See Interaction."""
        query = by_slot(self.scaled(codewords), slots, self.query_kernel)
        return CodePart(query * self.config.product_dim**-0.5)

    def item_part(self, items: tf.Tensor) -> ItemPart:
        """See Interaction."""
        items = self.scaled(items)
        shape = [-1, self.config.num_item_tokens, self.config.product_dim]
        return ItemPart(tf.reshape(tf.matmul(items, self.item_tokens), shape), tf.matmul(items, self.item_values))

    def pairs(self, codes: CodePart, items: ItemPart) -> tf.Tensor:
        """See Interaction."""
        logits = tf.matmul(codes.query, tf.transpose(items.tokens, [1, 2, 0]))  # [K_c, C, I]
        return softmax_mean(logits, logits + tf.transpose(items.values)[:, None])

    def aligned(self, codes: CodePart, items: ItemPart) -> tf.Tensor:
        """See Interaction."""
        logits = tf.linalg.matvec(items.tokens, codes.query)
        return softmax_mean(tf.transpose(logits), tf.transpose(logits + items.values))

    def costs(self) -> Costs:
        """See Interaction."""
        dim, width, tokens = self.dim, self.config.product_dim, self.config.num_item_tokens
        return Costs(
            per_code=dim + self.slot_cost(width) + width,
            per_item=dim + 2 * dim * (self.token_dim + tokens),
            per_pair=2 * self.token_dim + 7 * tokens + 1,
        )
