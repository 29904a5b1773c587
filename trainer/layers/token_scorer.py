"""S(q, c) of query tokens and items: an inner product, the item's bias, and an interaction."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from trainer.config import Config, QuantizerConfig
from trainer.layers.scorers import Costs, make_interaction


class CodeParts(NamedTuple):
    """What S needs of C tokens, made once a token.

    Attributes:
      tokens: `[C, D]`.
      shares: `[C]`, of an item's bias.
      interaction: tensors `[C, ...]` of the interaction; empty without one.
    """

    tokens: tf.Tensor
    shares: tf.Tensor
    interaction: tuple


class ItemParts(NamedTuple):
    """What S needs of I items, made once an item: `vectors [I, D]`, `biases [I]`, `interaction` as in CodeParts."""

    vectors: tf.Tensor
    biases: tf.Tensor
    interaction: tuple


class TokenScorer(tf.keras.layers.Layer):
    """S(q, c) = <q, v_c> / temperature + share_slot * bias_c + interaction_slot(q, c).

    The shares of a query's tokens add up to 1. `grid` methods, and `pairs`, score every token with every item,
    `own` methods each query's tokens with that query's own items; both give the same numbers.

    Args:
      config: of the scorer, the quantizer's slots, and D.
    """

    def __init__(self, config: Config, **kwargs) -> None:
        super().__init__(**kwargs)
        self._scorer, self._dim = config.scorer, config.tokenizer.dim
        self.interaction = make_interaction(config.scorer, config.quantizer.num_slots, self._dim)
        self.token_slots = np.arange(config.quantizer.num_query_tokens, dtype=np.int32) % config.quantizer.num_slots
        self._shares = tf.constant(_bias_shares(config.quantizer))

    def code_parts(self, tokens: tf.Tensor, slots: tf.Tensor) -> CodeParts:
        """The parts of tokens `[C, D]` in slots `[C]`."""
        interaction = () if self.interaction is None else self.interaction.code_part(tokens, slots)
        return CodeParts(tokens, tf.gather(self._shares, slots), interaction)

    def costs(self) -> Costs:
        """FLOPs of `code_parts`, `item_parts` and `pairs`; see Costs."""
        own = Costs(self._dim, 0, 2 * (self._dim + 1)) if self._scorer.inner_product else Costs(0, 0, 1)
        if self.interaction is None:
            return own
        per_code, per_item, per_pair = (sum(both) for both in zip(own, self.interaction.costs(), strict=True))
        return Costs(per_code, per_item, per_pair + 1)

    def item_parts(self, vectors: tf.Tensor, biases: tf.Tensor) -> ItemParts:
        """The parts of items of vectors `[I, D]` and biases `[I]`."""
        interaction = () if self.interaction is None else self.interaction.item_part(vectors)
        return ItemParts(vectors, biases, interaction)

    def pairs(self, codes: CodeParts, items: ItemParts) -> tf.Tensor:
        """S of every token with every item by their parts: `[C, I]`."""
        scores = self._linear(codes.tokens, codes.shares, items.vectors, items.biases)
        if self.interaction is None:
            return scores
        return scores + self.interaction.pairs(codes.interaction, items.interaction)

    def linear_grid(self, tokens: tf.Tensor, slots: tf.Tensor, vectors: tf.Tensor, biases: tf.Tensor) -> tf.Tensor:
        """S without the interaction, of tokens `[C, D]` in slots `[C]` with items `[I, D]`, `[I]`: `[C, I]`."""
        return self._linear(tokens, tf.gather(self._shares, slots), vectors, biases)

    def _linear(self, tokens: tf.Tensor, shares: tf.Tensor, vectors: tf.Tensor, biases: tf.Tensor) -> tf.Tensor:
        if not self._scorer.inner_product:
            return shares[:, None] * biases
        # One matrix product of inner size D + 1, and no further pass over all pairs.
        codes = tf.concat([tokens / self._scorer.temperature, shares[:, None]], 1)
        return tf.matmul(codes, tf.concat([vectors, biases[:, None]], 1), transpose_b=True)

    def interaction_grid(self, tokens: tf.Tensor, slots: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """The interaction of tokens `[C, D]` in slots `[C]` with items of vectors `[I, D]`: `[C, I]`."""
        if self.interaction is None:
            return tf.zeros([tf.shape(tokens)[0], tf.shape(vectors)[0]])
        return self.interaction.pairs(self.interaction.code_part(tokens, slots), self.interaction.item_part(vectors))

    def linear_own(self, tokens: tf.Tensor, vectors: tf.Tensor, biases: tf.Tensor) -> tf.Tensor:
        """S without the interaction, of tokens `[P, K_u, D]` with items `[P, W, D]`, `[P, W]`: `[P, K_u, W]`."""
        scores = tf.gather(self._shares, self.token_slots)[:, None] * biases[:, None]
        if self._scorer.inner_product:
            scores += tf.matmul(tokens, vectors, transpose_b=True) / self._scorer.temperature
        return scores

    def interaction_own(self, tokens: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        """The interaction of tokens `[P, K_u, D]` with items `[P, W, D]` of the same query: `[P, K_u, W]`."""
        queries, width = tf.shape(tokens)[0], tf.shape(vectors)[1]
        shape = tf.stack([queries, tokens.shape[1], width])
        if self.interaction is None:
            return tf.zeros(shape)
        slots = tf.tile(self.token_slots, [queries])
        codes = self.interaction.code_part(tf.reshape(tokens, [-1, self._dim]), slots)
        items = self.interaction.item_part(tf.reshape(vectors, [-1, self._dim]))
        token_of_pair = tf.repeat(tf.range(queries * tokens.shape[1]), width)
        item_of_query = tf.reshape(tf.range(queries * width), [queries, 1, width])
        item_of_pair = tf.reshape(tf.tile(item_of_query, [1, tokens.shape[1], 1]), [-1])
        codes = type(codes)(*(tf.gather(part, token_of_pair) for part in codes))
        items = type(items)(*(tf.gather(part, item_of_pair) for part in items))
        return tf.reshape(self.interaction.aligned(codes, items), shape)


def _bias_shares(config: QuantizerConfig) -> np.ndarray:
    """Which part of an item's bias each slot carries: `[slots]` float32."""
    if config.structure == "residual":
        # The levels of a vector add up to it: the first of them carries its bias.
        first = np.arange(config.num_slots) % config.num_levels == 0
        return (first / config.num_vectors).astype(np.float32)
    return np.full(config.num_slots, 1.0 / config.num_query_tokens, np.float32)
