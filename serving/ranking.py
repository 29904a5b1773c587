"""The merge: from the lists of a query's tokens to its k best items."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from serving import contributions
from serving.lists import LAST_ROW, PostingLists
from serving.merge import merged
from serving.sums import Candidates, Sums, Tokens


class Ranking(tf.Module):
    """Ranks the items of a query's lists: merges the lists, has each item scored, and takes the best."""

    def __init__(self, lists: PostingLists, sums: Sums) -> None:
        """Ranks the items of `lists` by `sums`."""
        super().__init__()
        self._lists = lists
        self._sums = sums

    def best(
        self,
        tokens: Tokens,
        excluded_rows: tf.Tensor,
        k: int | tf.Tensor,
        keep: Callable[[Candidates], Candidates] = lambda candidates: candidates,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The k best items of each query, by descending score, then ascending row.

        Args:
          tokens: of the queries.
          excluded_rows: `[B, E]` int64 catalogue rows that must not be returned; -1 is padding.
          k: at least 0.
          keep: says which candidates may be returned.

        Returns:
          Rows `[B, k]` int32 and scores `[B, k]` float32. Only scores above 0 count: where fewer than
          k items have one, the score is 0 and the row LAST_ROW, which is none.
        """
        candidates = keep(self._candidates(tokens, excluded_rows))
        return _top_k(candidates, self._sums(candidates, tokens), k)

    def contributions(self, rows: tf.Tensor, tokens: Tokens) -> tf.Tensor:
        """What each token adds to the scores of items: they sum to what `best` says, but for rounding.

        Args:
          rows: `[B, W]` int32 of `best`.
          tokens: of the queries.

        Returns:
          `[B, W, K]` float32; 0 where the row is LAST_ROW.
        """
        listed = contributions.of_lists(self._lists, self._list_rows(tokens), self._sums.posting_weights(tokens), rows)
        exists = rows < LAST_ROW
        own = self._sums.contributions(tf.where(exists, rows, 0), tokens)
        own = tf.where(exists[:, :, None], own, 0.0)
        return listed + tf.pad(own, [[0, 0], [0, 0], [0, tokens.weights.shape[1] - tokens.vectors.shape[1]]])

    def _list_rows(self, tokens: Tokens) -> tf.Tensor:
        """The list of each token `[B, K]`, the empty one where it has no weight."""
        return tf.where(tokens.weights > 0, tokens.list_rows, self._lists.empty_row)

    def _candidates(self, tokens: Tokens, excluded_rows: tf.Tensor) -> Candidates:
        postings = self._lists.postings(self._list_rows(tokens), self._sums.posting_weights(tokens))
        return merged(postings, excluded_rows)


def _top_k(candidates: Candidates, scores: tf.Tensor, k: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """See `Ranking.best`.

    The bits of a score above the reversed row make one integer, whose order is exactly that of
    descending scores, then ascending rows.
    """
    bits = tf.cast(tf.bitcast(scores, tf.int32), tf.int64)
    ranks = tf.bitwise.bitwise_or(tf.bitwise.left_shift(bits, 32), tf.cast(LAST_ROW - candidates.rows, tf.int64))
    ranks = tf.where(tf.logical_and(candidates.valid, scores > 0), ranks, 0)
    # The padding makes sure that there are k numbers to choose from.
    best = tf.math.top_k(tf.pad(ranks, [[0, 0], [0, k]]), k).values
    scores = tf.bitcast(tf.cast(tf.bitwise.right_shift(best, 32), tf.int32), tf.float32)
    return LAST_ROW - tf.cast(best, tf.int32), scores
