"""The best items among those that the choices of a query leave."""

from __future__ import annotations

import tensorflow as tf

from serving.categories import Categories
from serving.inputs import Choices
from serving.lists import LAST_ROW
from serving.ranking import Ranking
from serving.sums import Tokens


class Selection(tf.Module):
    """Leaves candidates out before the best are chosen, so that as many are returned as are asked for."""

    def __init__(self, ranking: Ranking, categories: Categories, max_k: int) -> None:
        """Selects from what `ranking` ranks, at most `max_k` items a query."""
        super().__init__()
        self._ranking = ranking
        self._categories = categories
        self._max_k = max_k

    def best(self, tokens: Tokens, excluded_rows: tf.Tensor, choices: Choices) -> tuple[tf.Tensor, tf.Tensor]:
        """The best items of each query, by descending score, then ascending row.

        Args:
          tokens: of B queries.
          excluded_rows: `[B, E]` int64 catalogue rows that must not be returned; -1 is padding.
          choices: of each query; their k and categories count here.

        Returns:
          Rows `[B, W]` int32 and scores `[B, W]` float32, all above 0, then 0 with LAST_ROW; W is what the longest
          answer needs.
        """
        limits = tf.clip_by_value(choices.k, 0, self._max_k)
        rows, scores = self._ranking.best(
            tokens,
            excluded_rows,
            tf.reduce_max(tf.concat([limits, [0]], 0)),  # 0 of no queries
            lambda candidates: self._categories.keep(candidates, choices.allow_categories, choices.deny_categories),
        )
        wanted = (scores > 0) & (tf.range(tf.shape(scores)[1]) < limits[:, None])
        width = tf.math.count_nonzero(tf.reduce_any(wanted, 0))
        wanted, rows, scores = (each[:, :width] for each in (wanted, rows, scores))
        return tf.where(wanted, rows, LAST_ROW), tf.where(wanted, scores, 0.0)
