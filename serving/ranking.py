"""The merge: from the lists of a query's tokens to its k best items."""

from __future__ import annotations

import tensorflow as tf

from serving.lists import LAST_ROW, NO_ENTRY, PostingLists
from serving.sums import Candidates, Sums

# The lower half of an entry that stands for an item not to be returned: above the bits of any score.
_EXCLUDED = 2**32 - 1


class Ranking(tf.Module):
    """Ranks the items of a query's lists.

    The lists are gathered in one go and sorted by item, which brings the postings of an item together
    without an accumulator as wide as the catalogue. Items to exclude are sorted in with them, each
    before its postings, so that exclusion comes before the top k.
    """

    def __init__(self, lists: PostingLists, sums: Sums) -> None:
        """Ranks the items of `lists` by `sums`."""
        super().__init__()
        self._lists = lists
        self._sums = sums

    def best(self, list_rows: tf.Tensor, excluded_rows: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The k best items of each query, by descending score, then ascending row.

        Args:
          list_rows: `[B, K_u]` int64, the list of each token; K_u is static.
          excluded_rows: `[B, E]` int64 catalogue rows that must not be returned; -1 is padding.
          k: at least 1.

        Returns:
          Rows `[B, k]` int32 and scores `[B, k]` float32. Only scores above 0 count: where fewer than
          k items have one, the score is 0 and the row is none.
        """
        candidates = self._candidates(list_rows, excluded_rows)
        scores = self._sums(candidates, list_rows)
        return _top_k(candidates, scores, k)

    def _candidates(self, list_rows: tf.Tensor, excluded_rows: tf.Tensor) -> Candidates:
        entries = tf.concat([self._lists.entries(list_rows), _exclusions(excluded_rows)], axis=1)
        # The sort of stock TensorFlow: top k of all, the queries of a batch in parallel.
        entries = tf.math.top_k(entries, tf.shape(entries)[1]).values
        items, score_bits = _halves(entries)
        before = tf.pad(items[:, :-1], [[0, 0], [1, 0]], constant_values=-1)
        # An excluded item begins with its exclusion, whose bits read as a negative number.
        first = tf.logical_and(items != before, score_bits > 0)
        return Candidates(items, tf.bitcast(score_bits, tf.float32), first)


def _exclusions(rows: tf.Tensor) -> tf.Tensor:
    """Entries that, sorted, stand before all postings of an item; filling where a row is -1."""
    entries = tf.bitwise.bitwise_or(tf.bitwise.left_shift(LAST_ROW - rows, 32), _EXCLUDED)
    return tf.where(rows >= 0, entries, NO_ENTRY)


def _halves(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The upper and lower 32 bits of int64, both as int32."""
    return tf.cast(tf.bitwise.right_shift(numbers, 32), tf.int32), tf.cast(numbers, tf.int32)


def _top_k(candidates: Candidates, scores: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """See `Ranking.best`.

    The bits of a score above the reversed row make one integer, whose order is exactly that of
    descending scores, then ascending rows.
    """
    bits = tf.cast(tf.bitcast(scores, tf.int32), tf.int64)
    ranks = tf.bitwise.bitwise_or(tf.bitwise.left_shift(bits, 32), tf.cast(candidates.items, tf.int64))
    ranks = tf.where(tf.logical_and(candidates.first, scores > 0), ranks, 0)
    # The padding makes sure that there are k numbers to choose from.
    best = tf.math.top_k(tf.pad(ranks, [[0, 0], [0, k]]), k).values
    score_bits, items = _halves(best)
    return LAST_ROW - items, tf.bitcast(score_bits, tf.float32)
