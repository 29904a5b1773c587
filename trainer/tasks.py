"""The training task: TFRS retrieval on scores that are no dot product."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_recommenders as tfrs

from trainer.config import LossConfig

_ACCIDENTAL_HIT = -1e9


class SampledSoftmax(tfrs.tasks.Retrieval):
    """Softmax of the positive against negatives shared by all queries of the batch, or against the hardest of them.

    With negatives c_1 .. c_S drawn from q and logQ correction, the sum below estimates the softmax
    over the whole catalogue (Bengio & Senecal 2008; the positive is not a sample from q and is not
    corrected):

        loss = -f(p) + log( exp f(p) + sum_s exp( f(c_s) - log(S q(c_s)) ) )

    With the whole catalogue as negatives, each item once with q = 1 / S, it is the full softmax.

    Args:
      config: whether to correct by log q, and how many hard negatives to keep.
    """

    def __init__(self, config: LossConfig, **kwargs) -> None:
        super().__init__(
            loss=tf.keras.losses.CategoricalCrossentropy(from_logits=True, reduction=tf.keras.losses.Reduction.NONE),
            **kwargs,
        )
        self._correct = config.log_q
        self._correction = tfrs.layers.loss.SamplingProbablityCorrection()
        self._mining = (
            tfrs.layers.loss.HardNegativeMining(config.num_hard_negatives) if config.num_hard_negatives else None
        )

    def call(
        self,
        positive_scores: tf.Tensor,
        negative_scores: tf.Tensor,
        *,
        accidental_hits: tf.Tensor,
        sampling_probability: tf.Tensor,
        sample_weight: tf.Tensor,
    ) -> tf.Tensor:
        """Mean loss over the queries.

        Args:
          positive_scores: `[P]` f(query, its positive).
          negative_scores: `[P, S]` f(query, negative).
          accidental_hits: `[P, S]` bool, True where a negative is the query's own positive.
          sampling_probability: `[S]` q of each negative under the proposal, in (0, 1].
          sample_weight: `[P]` weights; 0 leaves a query out.

        Returns:
          Scalar.
        """
        if self._correct:
            size = tf.cast(tf.shape(negative_scores)[1], tf.float32)
            negative_scores = self._correction(negative_scores, sampling_probability) - tf.math.log(size)
        negative_scores = tf.where(accidental_hits, _ACCIDENTAL_HIT, negative_scores)
        logits = tf.concat([positive_scores[:, None], negative_scores], axis=1)
        labels = tf.one_hot(tf.zeros_like(positive_scores, tf.int32), tf.shape(logits)[1])
        if self._mining is not None:
            logits, labels = self._mining(logits, labels)
        losses = self._loss(y_true=labels, y_pred=logits)
        return tf.math.divide_no_nan(tf.reduce_sum(losses * sample_weight), tf.reduce_sum(sample_weight))
