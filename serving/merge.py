"""The merge: from the postings of a query's lists to its distinct items, each with the sum of its postings.

Items are told apart by hashing (`tf.unique`), which takes a third of what sorting took, and without an
accumulator as wide as the catalogue. One query at a time: the hash table of a whole batch would be larger than the
processor's cache. The queries of a batch are merged side by side, on as many threads as the server has.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from serving.lists import NO_ROW, Postings
from serving.sums import Candidates

# What an item that must not be returned adds to the sum of its postings, none of which is below 0.
_EXCLUDED = np.float32(-np.inf)
_SIDE_BY_SIDE = 32


def merged(postings: Postings, excluded_rows: tf.Tensor) -> Candidates:
    """The items of each query's postings, without those excluded.

    Args:
      postings: of B queries.
      excluded_rows: `[B, E]` int64 catalogue rows that must not be returned; -1 is padding.
    """
    # NO_ROW, which fills up parts, is an item to exclude like others.
    excluded = tf.pad(tf.cast(excluded_rows, tf.int32), [[0, 0], [0, 1]], constant_values=NO_ROW)

    def sums(query: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        parts = slice(postings.splits[query], postings.splits[query + 1])
        rows, scores = tf.reshape(postings.rows[parts], [-1]), tf.reshape(postings.scores[parts], [-1])
        rows = tf.concat([rows, excluded[query]], 0)
        scores = tf.concat([scores, tf.fill(tf.shape(excluded)[1:], _EXCLUDED)], 0)
        distinct, places = tf.unique(rows)
        # On the CPU it adds in the order of its input.
        return distinct, tf.math.unsorted_segment_sum(scores, places, tf.size(distinct))

    ragged = tuple(tf.RaggedTensorSpec([None], kind, 0) for kind in (tf.int32, tf.float32))
    rows, totals = tf.map_fn(
        sums, tf.range(tf.shape(excluded)[0]), parallel_iterations=_SIDE_BY_SIDE, fn_output_signature=ragged
    )
    rows, totals = rows.to_tensor(NO_ROW), totals.to_tensor(_EXCLUDED)
    valid = totals >= 0
    return Candidates(tf.where(valid, rows, 0), tf.where(valid, totals, 0.0), valid)
