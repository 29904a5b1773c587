"""The merge: from the lists of a query's tokens to its k best items."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from serving import contributions
from serving.lists import LAST_ROW, NO_ENTRY, PostingLists, halves, joined
from serving.sums import Candidates, Sums, Tokens

# The lower half of an entry that stands for an item not to be returned: above the bits of any score.
_EXCLUDED = 2**32 - 1


class Ranking(tf.Module):
    """Ranks the items of a query's lists.

    The lists are gathered in one go and sorted by item, which brings the postings of an item together
    without an accumulator as wide as the catalogue. Items to exclude are sorted in with them, each
    before its postings, so that exclusion comes before the top k. Then the postings of an item are
    added up, all items in one pass, whatever the number of lists.
    """

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
        own = tf.transpose(self._sums.contributions(tf.where(exists, rows, 0), tokens), [0, 2, 1])
        own = tf.where(exists[:, :, None], own, 0.0)
        return listed + tf.pad(own, [[0, 0], [0, 0], [0, tokens.weights.shape[1] - tokens.vectors.shape[1]]])

    def _list_rows(self, tokens: Tokens) -> tf.Tensor:
        """The list of each token `[B, K]`, the empty one where it has no weight."""
        return tf.where(tokens.weights > 0, tokens.list_rows, self._lists.empty_row)

    def _candidates(self, tokens: Tokens, excluded_rows: tf.Tensor) -> Candidates:
        entries = self._lists.entries(self._list_rows(tokens), self._sums.posting_weights(tokens))
        items, score_bits = halves(_merged(tf.concat([entries, _exclusions(excluded_rows)], axis=1)))
        valid = score_bits >= 0
        return Candidates(
            rows=tf.where(valid, LAST_ROW - items, 0),
            scores=tf.bitcast(tf.where(valid, score_bits, 0), tf.float32),
            valid=valid,
        )


def _exclusions(rows: tf.Tensor) -> tf.Tensor:
    """Entries that, sorted, stand before all postings of an item; filling where a row is -1."""
    entries = tf.bitwise.bitwise_or(tf.bitwise.left_shift(LAST_ROW - rows, 32), _EXCLUDED)
    return tf.where(rows >= 0, entries, NO_ENTRY)


def _merged(entries: tf.Tensor) -> tf.Tensor:
    """Entries `[B, W]` to one an item, `[B, C]`: the sum of its scores, or NO_ENTRY where it is excluded."""
    # The sort of stock TensorFlow: top k of all, the queries of a batch in parallel.
    entries = tf.math.top_k(entries, tf.shape(entries)[1]).values
    items, score_bits = halves(entries)
    before = tf.pad(items[:, :-1], [[0, 0], [1, 0]], constant_values=-1)
    begins = tf.logical_and(items != before, items >= 0)
    # Numbers the items of the whole batch. The filling at a query's end goes with the item before it and adds 0.
    numbers = tf.cumsum(tf.cast(tf.reshape(begins, [-1]), tf.int32)) - 1
    first = tf.boolean_mask(entries, begins)
    scores = tf.reshape(tf.bitcast(tf.maximum(score_bits, 0), tf.float32), [-1])
    # On the CPU it adds in the order of its input: from the largest score down.
    totals = tf.math.unsorted_segment_sum(scores, numbers, tf.size(first))
    items, score_bits = halves(first)
    merged = tf.where(score_bits >= 0, joined(items, totals), NO_ENTRY)
    counts = tf.reduce_sum(tf.cast(begins, tf.int64), axis=1)
    return tf.RaggedTensor.from_row_lengths(merged, counts, validate=False).to_tensor(NO_ENTRY)


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
    score_bits, items = halves(best)
    return LAST_ROW - items, tf.bitcast(score_bits, tf.float32)
