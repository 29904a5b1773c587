"""The two-tower baseline: SparCode's encoder, data, loss and budget, scored by a dot product."""

from __future__ import annotations

import tensorflow as tf

from trainer.layers.quantizer import Quantized
from trainer.model import SequenceModel


class TwoTower(SequenceModel):
    """f(q, c) = <q, v_c> / temperature + bias_c, of unit vectors; exact, no codes."""

    def batch_scores(
        self, queries: tf.Tensor, positives: tf.Tensor, negatives: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Quantized | None]:
        """See SequenceModel; there is no extra loss."""
        temperature = self.config.scorer.temperature
        own = tf.reduce_sum(queries * self.item_vectors(positives), -1) / temperature
        own += tf.gather(self.item_bias, positives)
        return own, self._scores(queries, negatives), tf.zeros_like(own), None

    def _scores(self, queries: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        products = tf.matmul(queries, self.item_vectors(items), transpose_b=True)
        return products / self.config.scorer.temperature + tf.gather(self.item_bias, items)

    def catalogue_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """Exhaustive scores `[B, I]`."""
        return self._scores(self.last_query_vectors(windows), tf.range(self.num_items))
