"""The late-interaction baseline: every query token finds its best match among an item's tokens."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.sequence_model import Batch, Scores, SequenceModel


class LateInteraction(SequenceModel):
    """Max-sim over tokens (ColBERT, Khattab & Zaharia 2020).

        f(q, c) = sum_i max_j <q_i, c_j> / (temperature K_u) + bias_c        i = 1 .. K_u,  j = 1 .. K_c

    of unit vectors: K_u of the query, by the tokenizer; K_c of the item, by linear maps of its vector.

    Args: see SequenceModel.
    """

    def __init__(self, config: Config, item_counts: np.ndarray, **kwargs) -> None:
        super().__init__(config, item_counts, **kwargs)
        self._num_item_tokens = config.scorer.num_item_tokens
        self.item_heads = tf.keras.layers.Dense(self._num_item_tokens * config.tokenizer.dim, use_bias=False)

    @property
    def num_vectors(self) -> int:
        """K_u: a late interaction of one query token is a two-tower model."""
        return self.config.quantizer.num_query_tokens

    def item_tokens(self, vectors: tf.Tensor) -> tf.Tensor:
        """Unit vectors `[K_c, N, D]` of items by their vectors `[N, D]`."""
        heads = tf.reshape(self.item_heads(vectors), [-1, self._num_item_tokens, self._dim])
        return tf.transpose(tf.math.l2_normalize(heads, -1), [1, 0, 2])

    @property
    def _dim(self) -> int:
        return self.config.tokenizer.dim

    def batch_scores(self, batch: Batch) -> Scores:
        """See SequenceModel; there is no extra loss."""
        own = self.item_tokens(self.item_vectors(batch.positives, batch.step))
        similarities = tf.einsum("pkd,jpd->pkj", batch.queries, own)
        positive = self._sum(tf.reduce_max(similarities, -1), -1) + self.item_biases(batch.positives, batch.step)
        return Scores(positive, self._scores(batch.queries, batch.negatives.rows, batch.step), tf.zeros([]))

    def _sum(self, best: tf.Tensor, axis: int) -> tf.Tensor:
        # The mean, so that a logit has the range of a two-tower's.
        return tf.reduce_mean(best, axis) / self.config.scorer.temperature

    def _scores(self, queries: tf.Tensor, items: tf.Tensor, step: tf.Tensor | None = None) -> tf.Tensor:
        """`[P, S]` of queries `[P, K_u, D]` and rows `[S]`."""
        vectors, biases = self.shared_items(items, step)
        flat, item_tokens = tf.reshape(queries, [-1, self._dim]), self.item_tokens(vectors)
        products = [tf.matmul(flat, item_tokens[token], transpose_b=True) for token in range(self._num_item_tokens)]
        best = products[0]
        for product in products[1:]:
            best = tf.maximum(best, product)
        best = tf.reshape(best, [-1, queries.shape[1], tf.shape(items)[0]])
        return self._sum(best, 1) + biases

    def catalogue_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """Exhaustive scores `[B, I]`."""
        return self._scores(self.last_query_vectors(windows), tf.range(self.num_items))
