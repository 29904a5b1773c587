"""A trained model as a ranker of the whole catalogue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.evaluation import top_k_unseen
from trainer.sequence_model import SequenceModel


class ModelRanker:
    """Ranks every unseen item for histories by a model's catalogue scores.

    Args:
      model: built and trained.
    """

    def __init__(self, model: SequenceModel) -> None:
        self._windows = model.windows_of
        signature = [tf.TensorSpec([None, *model.windows_of([]).shape[1:]], tf.int32)]
        self._scores = tf.function(
            lambda windows: model.catalogue_scores(windows)[:, : model.num_targets], input_signature=signature
        )

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> np.ndarray:
        """The k best unseen rows of each history `[B, k]` int32, best first, -1 where there are fewer."""
        return top_k_unseen(self._scores(tf.constant(self._windows(histories))).numpy(), histories, k)
