"""The three ways of making f(q, c) of the candidates.

    f(q, c) = sum_i relu(S(T_i(q), c) + b)  +  sum_e w_e(q) * list_e[c]

The second sum is that of the events' lists, which hold all that events contribute. The ways differ in
the first: `sparse` takes it from the lists of the quantised tokens too, `completed` from the
completion block, `rescored` from the scorer itself.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import tensorflow as tf

from serving.index import Block
from serving.scorer import Scorer


class Tokens(NamedTuple):
    """The tokens of a batch of queries: K_u quantised ones, then H events. K_u and H are static.

    Attributes:
      list_rows: `[B, K]` int64, the list of each.
      weights: `[B, K]` float32, what the scores in each list count; no list of weight 0 has candidates.
      vectors: `[B, K_u, D]` float32, of the quantised tokens.
    """

    list_rows: tf.Tensor
    weights: tf.Tensor
    vectors: tf.Tensor


class Candidates(NamedTuple):
    """The distinct items of each query's lists.

    Attributes:
      rows: `[B, C]` int32 catalogue rows; where `valid` is false, 0.
      scores: `[B, C]` float32, the item's postings, each times its `Sums.posting_weights`, added in
        float32 in the order of the lists.
      valid: `[B, C]` bool; C is the number of candidates of the query that has most.
    """

    rows: tf.Tensor
    scores: tf.Tensor
    valid: tf.Tensor


class Sums(Protocol):
    """Makes the scores of candidates from the tokens of their query."""

    def posting_weights(self, tokens: Tokens) -> tf.Tensor:
        """What a posting of each token's list adds to `Candidates.scores`, `[B, K]` float32.

        A list of weight 0 still names candidates: its postings are merged like others and add 0.0, which
        changes no sum. So one sort serves lists that name candidates and lists that score them.
        """
        ...

    def __call__(self, candidates: Candidates, tokens: Tokens) -> tf.Tensor:
        """Scores `[B, C]` float32, right where `candidates.valid`."""
        ...

    def contributions(self, rows: tf.Tensor, tokens: Tokens) -> tf.Tensor:
        """What each quantised token adds to items `[B, W]` int32 beside its weighted posting, `[B, W, K_u]` float32.

        With the weighted postings of all lists they add up to the item's score.
        """
        ...


class SparseSums(tf.Module):
    """An item's score is the sum of its weighted postings; a missing posting counts 0."""

    def posting_weights(self, tokens: Tokens) -> tf.Tensor:
        """See `Sums`."""
        return tokens.weights

    def __call__(self, candidates: Candidates, tokens: Tokens) -> tf.Tensor:
        """See `Sums`."""
        return candidates.scores

    def contributions(self, rows: tf.Tensor, tokens: Tokens) -> tf.Tensor:
        """See `Sums`: nothing."""
        batch, width = tf.unstack(tf.shape(rows))
        return tf.zeros(tf.stack([batch, width, tokens.vectors.shape[1]]))


class CompletedSums(tf.Module):
    """An item's score is the sum of its contributions in the block, in token order, then of its events' postings."""

    def __init__(self, block: Block) -> None:
        """Holds the block flat: a contribution is one number somewhere in it."""
        super().__init__()
        self._num_items = block.values.shape[1]
        self._tile_items = block.tile_items
        self._first_item = block.first_item
        self._values = tf.Variable(block.values.ravel(), trainable=False, name="block_values")
        self._offset = tf.Variable(block.offset, trainable=False, name="block_offset")
        self._scale = tf.Variable(block.scale, trainable=False, name="block_scale")

    def posting_weights(self, tokens: Tokens) -> tf.Tensor:
        """See `Sums`."""
        return _of_events(tokens)

    def __call__(self, candidates: Candidates, tokens: Tokens) -> tf.Tensor:
        """See `Sums`."""
        return tf.add_n(tf.unstack(self.contributions(candidates.rows, tokens), axis=2)) + candidates.scores

    def contributions(self, rows: tf.Tensor, tokens: Tokens) -> tf.Tensor:
        """See `Sums`."""
        if self._first_item:  # of a shard; row 0, which stands for no item, is not among its own
            rows = tf.maximum(rows - self._first_item, 0)
        lists, tiles = tokens.list_rows[:, : tokens.vectors.shape[1]], rows // self._tile_items
        places = lists[:, None, :] * self._num_items + tf.cast(rows, tf.int64)[:, :, None]
        values = tf.cast(tf.gather(self._values, places), tf.float32)
        return _of_tiles(self._offset, lists, tiles) + _of_tiles(self._scale, lists, tiles) * values


class RescoredSums(tf.Module):
    """An item's score is what the scorer gives it, then the sum of its events' postings."""

    def __init__(self, scorer: Scorer) -> None:
        """Scores with `scorer`."""
        super().__init__()
        self._scorer = scorer

    def posting_weights(self, tokens: Tokens) -> tf.Tensor:
        """See `Sums`."""
        return _of_events(tokens)

    def __call__(self, candidates: Candidates, tokens: Tokens) -> tf.Tensor:
        """See `Sums`. Each distinct item is scored once; shorter queries are filled up with item 0."""
        return self._scorer.rescore(tokens.vectors, candidates.rows).scores + candidates.scores

    def contributions(self, rows: tf.Tensor, tokens: Tokens) -> tf.Tensor:
        """See `Sums`."""
        return tf.transpose(self._scorer.rescore(tokens.vectors, rows).contributions, [0, 2, 1])


def _of_tiles(table: tf.Tensor, lists: tf.Tensor, tiles: tf.Tensor) -> tf.Tensor:
    """Of a table `[S + 1, T]` the numbers of lists `[B, K_u]` and tiles `[B, W]`, `[B, W, K_u]`.

    An item's numbers are gathered in one piece, for what one of them alone would take.
    """
    return tf.gather(tf.transpose(tf.gather(table, lists), [0, 2, 1]), tiles, batch_dims=1)


def _of_events(tokens: Tokens) -> tf.Tensor:
    """The weights of events, after zeros: what quantised tokens contribute does not come from their lists."""
    num_tokens = tokens.vectors.shape[1]
    return tf.pad(tokens.weights[:, num_tokens:], [[0, 0], [num_tokens, 0]])
