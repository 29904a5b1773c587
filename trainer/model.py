"""SparCode: codes for queries, an expressive scorer for (code, item) pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from protos.codes import CodeSpace
from trainer.config import Config
from trainer.layers import replicas
from trainer.layers.event_lists import EventLists
from trainer.layers.quantized import Quantized
from trainer.layers.quantizer import VectorQuantizer
from trainer.layers.token_scorer import CodeParts, ItemParts, TokenScorer
from trainer.sequence_model import Batch, Scores, SequenceModel, mean_or_zero
from trainer.windows import rows_of


class ItemRows(NamedTuple):
    """Of catalogue rows `[...]`: `vectors [..., D]`, `biases [...]`."""

    vectors: tf.Tensor
    biases: tf.Tensor


class SparCode(SequenceModel):
    """SparCode (Su et al., SIGIR 2023).

        f(q, c) = sum_i relu( S(q_i, c) + b ) + m(q, c)             i = 1 .. K_u

    q_i are the codewords of the query's tokens, or the tokens themselves with quantizer structure
    "none" (the all-to-all model); S is TokenScorer's; m is the term of the event tokens, which
    training fits last. Training scores each distinct code of the batch against the negatives once
    and gathers; the straight-through gradient reaches the encoder through the inner product.

    Args: see SequenceModel.

    Attributes:
      event_lists: None until training has fitted the item memory.
    """

    def __init__(self, config: Config, item_counts: np.ndarray, **kwargs) -> None:
        super().__init__(config, item_counts, **kwargs)
        self.quantizer = VectorQuantizer(config.quantizer, config.tokenizer.dim, seed=config.training.seed)
        self.scorer = TokenScorer(config)
        self.bias = self.add_weight(
            name="bias", shape=(), initializer=tf.keras.initializers.Constant(config.scorer.initial_bias)
        )
        self.event_lists: EventLists | None = None

    @property
    def num_vectors(self) -> int:
        """V, vectors that the encoder makes of a history."""
        return self.config.quantizer.num_input_vectors

    @property
    def is_quantized(self) -> bool:
        """See SequenceModel; the all-to-all model has none."""
        return self.config.quantizer.structure != "none"

    @property
    def code_space(self) -> CodeSpace:
        """All keys that queries can have."""
        return self.config.quantizer.code_space

    @property
    def num_query_tokens(self) -> int:
        """K_u, tokens of a query."""
        return self.config.quantizer.num_query_tokens

    @property
    def interacts_by_code(self) -> bool:
        """Whether interactions are made once for each distinct code, not for each token.

        Then the gradient reaches the tokens through the inner product alone, and there is no
        interaction before there are codes. Without an inner product it must carry the gradient itself.
        """
        return self.is_quantized and self.config.scorer.inner_product

    @property
    def learning_variables(self) -> list[tf.Variable]:
        """See SequenceModel; once there are codes, those of the scorer only, unless configured otherwise."""
        holds = self.quantizer.is_active and not self.config.quantizer.train_encoder
        return self.scorer.trainable_variables if holds else self.trainable_variables

    def quantize(self, queries: tf.Tensor) -> Quantized:
        """Tokens and codes of query vectors `[P, V, D]`."""
        return self.quantizer(queries)

    def score_codes(self, keys: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """S of code keys `[C]` int64 and catalogue rows `[I]` int32, before bias and ReLU: `[C, I]`."""
        return self.score_pairs(self.code_parts(keys), self.item_parts(self.item_rows(items)))

    def code_parts(self, keys: tf.Tensor) -> CodeParts:
        """What S needs of code keys `[C]`, tensors `[C, ...]`; the index build makes it once a code."""
        return self.scorer.code_parts(*self.quantizer.codewords_of(keys))

    def item_rows(self, items: tf.Tensor) -> ItemRows:
        """All that scores depend on of catalogue rows `[...]`; an export keeps it for every row."""
        return ItemRows(self.item_vectors(items), self.item_biases(items))

    def item_parts(self, items: ItemRows) -> ItemParts:
        """What S needs of items `[I]`, tensors `[I, ...]`; the index build makes it once an item."""
        return self.scorer.item_parts(*items)

    def score_pairs(self, codes: CodeParts, items: ItemParts) -> tf.Tensor:
        """S of every code with every item by their parts: `[C, I]`."""
        return self.scorer.pairs(codes, items)

    def batch_scores(self, batch: Batch) -> Scores:
        """See SequenceModel; the extra loss is commitment, balance of codes and sparsity of scores."""
        quantized, config = self.quantize(batch.queries), self.config
        rows = batch.positives[:, None]
        own = self.item_vectors(rows, batch.step), self.item_biases(rows, batch.step)
        positive = tf.reduce_sum(self._own_contributions(quantized, *own), [1, 2])
        negative, contribution = self._shared_scores(quantized, batch.negatives.rows, batch.step)
        extra = config.loss.sparsity_weight * contribution
        if not self.is_quantized:
            return Scores(positive, negative, extra)
        extra += config.quantizer.commit_weight * mean_or_zero(self.quantizer.commitment(quantized))
        if config.quantizer.balance_weight:
            extra += config.quantizer.balance_weight * tf.reduce_mean(self.quantizer.balance(quantized))
        return Scores(positive, negative, extra, quantized)

    def _own_contributions(self, quantized: Quantized, vectors: tf.Tensor, biases: tf.Tensor) -> tf.Tensor:
        """relu(S + b) of the tokens of query p with items of its own, `[P, W, D]` and `[P, W]`: `[P, K_u, W]`."""
        scores = self.scorer.linear_own(quantized.output, vectors, biases)
        if self.interacts_by_code:
            interactions = self.scorer.interaction_own(quantized.codewords, vectors)
            scores += tf.where(self.quantizer.active, interactions, 0.0)
        else:
            scores += self.scorer.interaction_own(quantized.output, vectors)
        return tf.nn.relu(scores + self.bias)

    def _shared_scores(
        self, quantized: Quantized, items: tf.Tensor, step: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """f of every query with every one of S items, without event tokens `[P, S]`; the mean contribution."""
        vectors, biases = self.shared_items(items, step)
        interactions = self._interactions_by_code if self.interacts_by_code else self._interactions_by_token
        interaction_of = interactions(quantized, vectors)
        total, contribution = 0.0, 0.0
        for token in range(len(self.scorer.token_slots)):
            scores = self.scorer.linear_grid(
                quantized.output[:, token], self._slots(quantized, token), vectors, biases
            ) + interaction_of(token)
            counted = tf.nn.relu(scores + self.bias)
            total += counted
            contribution += mean_or_zero(counted)
        return total, contribution

    def _slots(self, quantized: Quantized, token: int) -> tf.Tensor:
        return tf.fill([tf.shape(quantized.output)[0]], self.scorer.token_slots[token])

    def _interactions_by_token(self, quantized: Quantized, vectors: tf.Tensor) -> Callable[[int], tf.Tensor]:
        """The number of a token to its interactions `[P, S]` with items `[S, D]`."""
        return lambda token: self.scorer.interaction_grid(
            quantized.output[:, token], self._slots(quantized, token), vectors
        )

    def _interactions_by_code(self, quantized: Quantized, vectors: tf.Tensor) -> Callable[[int], tf.Tensor]:
        """The same, made once for each distinct code of the batch."""
        keys, places = tf.unique(tf.reshape(quantized.keys, [-1]))
        codewords, slots = self.quantizer.codewords_of(keys)
        table = tf.cond(
            self.quantizer.active,
            lambda: self.scorer.interaction_grid(codewords, slots, vectors),
            lambda: tf.zeros([tf.shape(keys)[0], tf.shape(vectors)[0]]),
        )
        places = tf.reshape(places, tf.shape(quantized.keys))
        return lambda token: tf.gather(table, places[:, token])

    def update_codes(self, quantized: Quantized, share: replicas.Share | None) -> None:
        """One step of the codebooks' moving averages."""
        self.quantizer.update(quantized, self.step.read_value(), share)

    def catalogue_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """f of every item, unpruned: `[B, I]`; before the codebooks exist, of the unquantised tokens."""
        scores = self.token_scores(windows)
        return scores if self.event_lists is None else scores + self.event_lists.catalogue_scores(rows_of(windows))

    def token_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """f of every item without event tokens: `[B, I]`."""
        quantized = self.quantize(self.last_query_vectors(windows))
        if not self.is_quantized:
            return self._shared_scores(quantized, tf.range(self.num_items))[0]
        return tf.cond(
            self.quantizer.active,
            lambda: self.table_scores(quantized.keys),
            lambda: self._shared_scores(quantized, tf.range(self.num_items))[0],
        )

    def table_scores(self, keys: tf.Tensor) -> tf.Tensor:
        """f `[B, I]` of queries by their code keys `[B, K_u]`, the same sum that is served."""
        distinct, places = tf.unique(tf.reshape(keys, [-1]))
        table = tf.nn.relu(self.score_codes(distinct, tf.range(self.num_items)) + self.bias)
        places = tf.reshape(places, tf.shape(keys))
        return tf.add_n([tf.gather(table, places[:, token]) for token in range(keys.shape[1])])

    def rescore(self, tokens: tf.Tensor, items: ItemRows) -> tf.Tensor:
        """f of some items from tokens before quantisation, without event tokens, token by token: they add up to it.

        The mean of two scores: that of the codewords, which is f, and that of the tokens as they are, which
        is f as the first phase of training left it. Quantisation cannot hurt the second; interactions that
        are made by code have a part in the first only, since they were trained with codewords.

        Args:
          tokens: `[B, K_u, D]`, of `quantize`.
          items: of `[B, W]` catalogue rows.

        Returns:
          `[B, K_u, W]`.
        """
        whole = self.quantizer.unquantized(tokens)
        scores = self.scorer.linear_own(whole, *items) + self.bias
        if not self.interacts_by_code:
            scores += self.scorer.interaction_own(whole, items.vectors)
        by_code = self._own_contributions(self.quantize(self.quantizer.queries_of(tokens)), *items)
        return 0.5 * (tf.nn.relu(scores) + by_code)
