"""The two-tower baseline, plain and distilled: SparCode's encoder, data, loss and budget, scored by a dot product."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.sequence_model import Batch, Scores, SequenceModel, mean_or_zero


class TwoTower(SequenceModel):
    """f(q, c) = <q, v_c> / temperature + bias_c, of unit vectors; exact, no codes."""

    def batch_scores(self, batch: Batch) -> Scores:
        """See SequenceModel; there is no extra loss."""
        queries = batch.queries[:, 0]
        own = (
            tf.reduce_sum(queries * self.item_vectors(batch.positives, batch.step), -1) / self.config.scorer.temperature
        )
        own += self.item_biases(batch.positives, batch.step)
        return Scores(own, self._scores(queries, batch.negatives.rows, batch.step), tf.zeros([]))

    def _scores(self, queries: tf.Tensor, items: tf.Tensor, step: tf.Tensor | None = None) -> tf.Tensor:
        vectors, biases = self.shared_items(items, step)
        return tf.matmul(queries, vectors, transpose_b=True) / self.config.scorer.temperature + biases

    def catalogue_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """Exhaustive scores `[B, I]`."""
        return self._scores(self.last_query_vectors(windows)[:, 0], tf.range(self.num_items))


class DistilledTwoTower(TwoTower):
    """A two-tower model that also learns to rank a batch's items as a stronger model does.

        loss = softmax loss + KL( softmax(teacher) || softmax(student) )     over positive and negatives

    (Hinton et al. 2015, at temperature 1.) The teacher sees the same windows without dropout.

    Args:
      config: see SequenceModel.
      item_counts: see SequenceModel.
      teacher: trained; its weights stay as they are.
    """

    def __init__(self, config: Config, item_counts: np.ndarray, teacher: SequenceModel, **kwargs) -> None:
        super().__init__(config, item_counts, **kwargs)
        # Its method, not itself, so that Keras neither trains nor saves it.
        self._teach = teacher.scores_of

    def batch_scores(self, batch: Batch) -> Scores:
        """See SequenceModel; the extra loss is the divergence from the teacher."""
        scores = super().batch_scores(batch)
        wanted = self._teach(batch)
        student, teacher = (
            tf.nn.log_softmax(tf.concat([of.positive[:, None], of.negative], 1)) for of in (scores, wanted)
        )
        divergence = tf.reduce_sum(tf.stop_gradient(tf.exp(teacher)) * (tf.stop_gradient(teacher) - student), -1)
        return scores._replace(extra=mean_or_zero(divergence))
