"""A pruned build: a cheap first pass over all items chooses the candidates that the scorer itself then scores.

The first pass is a proxy distilled from the scorer: a linear function of what the scorer makes of an item,

    S(code, item) ~ w_code . x_item        x: the item's parts, end to end, and 1

fitted for every code by least squares to its exact scores with a sample of items, each counted e^z times, z its score
in standard deviations above the sample's mean: what matters is which of the best are best. What of S is linear in the
item's parts, the inner product and the bias, it has exactly; of the rest it has the best linear share.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from beam_index.geometry import CHUNK_CODES, call_width, tile_span
from beam_index.plan import Plan
from beam_index.postings import RunningBest, best_ranks, rows_of, stacked, to_ranks
from beam_index.saved_model import compiled, one_thread_session
from beam_index.scoring import Parts, cut
from beam_index.tiles import TileScorer

# Items that the proxy is fitted to: some times its width. More of them leave a budget of pairs fewer candidates.
SAMPLE_ITEMS = 512
# Relative to the mean square of the parts.
_RIDGE = 1e-6


class Pruner:
    """Makes the ranks of a chunk from its candidates. Holds the parts of all items: 4 bytes x width x items."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._tiles = plan, TileScorer(plan)
        self._tiles.scorer.require_stages("--candidates needs")
        tiles = [self._tiles.scorer.item_parts(tile) for tile in range(plan.num_tiles)]
        # Only the last tile is filled up.
        self._items = tuple(np.concatenate(parts)[: plan.num_items] for parts in zip(*tiles, strict=True))
        self._proxy = Proxy(self._items)

    def ranks(self, chunk: int, _: int, keys: np.ndarray, num_codes: int) -> tuple[np.ndarray, int]:
        """The best ranks `[n, <= depth]` of the codes of a chunk, `keys [n]`, among their candidates.

        And how many pairs were scored exactly, those that the proxy was fitted to included.
        """
        codes = self._tiles.scorer.code_parts(keys)
        candidates = self._candidates(codes, len(keys))
        ranks = self._tiles.callers.map(
            lambda code: self._rank(keys[code], cut(codes, slice(code, code + 1)), candidates[code]), range(len(keys))
        )
        pairs = candidates.size + len(keys) * len(self._proxy.sample)
        return stacked(list(ranks)), pairs

    def _candidates(self, codes: Parts, num_codes: int) -> np.ndarray:
        """Catalogue rows `[num_codes, R]`, ascending, of the items that the proxy scores best."""
        exact = self._exact(codes, self._proxy.sample)[:num_codes]
        best = self._tiles.by_call(lambda own: self._best_by_proxy(self._proxy.fit(exact[own])), num_codes)
        return np.concatenate(best)

    def _best_by_proxy(self, weights: np.ndarray) -> np.ndarray:
        plan = self._plan
        best = RunningBest(len(weights), plan.candidates, np.float32(-np.inf))
        for tile in range(plan.num_tiles):
            span = tile_span(tile, plan.num_items)
            scores = self._proxy.scores(weights, span.start, span.stop)
            scores[:, plan.removed_in(span)] = -np.inf
            best.add(scores, span.start)
        return np.sort(rows_of(best.ranks()), axis=1)

    def _exact(self, codes: Parts, rows: np.ndarray) -> np.ndarray:
        """Exact scores `[CHUNK_CODES, w]` of a chunk with some items."""
        scorer, items = self._tiles.scorer, cut(self._items, rows)
        scored = self._tiles.by_call(lambda own: scorer.scores(cut(codes, own), items, len(rows)), CHUNK_CODES)
        return np.concatenate(scored)

    def _rank(self, key: int, code: Parts, rows: np.ndarray) -> np.ndarray:
        """Exact ranks `[1, <= depth]` of one code with its candidates, ascending."""
        plan = self._plan
        scores = self._tiles.scorer.scores(code, self._gathered(rows), len(rows))
        self._tiles.scorer.require_finite(scores, np.array([key]), rows)
        keep = scores[0] > plan.floor
        return np.sort(best_ranks([to_ranks(scores[0][keep], rows[keep])[None]], plan.depth), axis=1)

    def _gathered(self, rows: np.ndarray) -> Parts:
        """The parts of some items, filled up with repetitions to whole calls."""
        filled = np.resize(rows, call_width(len(rows)))
        return cut(self._items, filled)


class Proxy:
    """The first pass; see the module. Its bits do not depend on the number of cores.

    Attributes:
      sample: rows of the items that it is fitted to, evenly spaced.
    """

    def __init__(self, items: Parts) -> None:
        num_items = len(items[0])
        # [I, F]
        self._inputs = np.concatenate([*(part.reshape(num_items, -1) for part in items), np.ones((num_items, 1))], 1)
        self._inputs = self._inputs.astype(np.float32)
        size = min(num_items, SAMPLE_ITEMS)
        self.sample = np.arange(size) * num_items // size
        self._solve, self._multiply = _one_thread_algebra()

    def fit(self, exact: np.ndarray) -> np.ndarray:
        """Weights `[n, F]` float32 of codes, from their exact scores `[n, sample]`."""
        return self._solve(self._inputs[self.sample], exact)

    def scores(self, weights: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Proxy scores `[n, stop - start]` of consecutive items."""
        return self._multiply(weights, self._inputs[start:stop])


def _one_thread_algebra() -> tuple:
    """Least squares, (x [s, F], y [n, s]) to w [n, F], and products w x^T, each in the thread of its caller."""
    with tf.Graph().as_default() as graph:
        x, y, w = (tf.compat.v1.placeholder(tf.float32, [None, None]) for _ in range(3))
        solved, product = _least_squares(x, y), tf.matmul(w, x, transpose_b=True)
    session = one_thread_session(graph)
    solve, multiply = (
        compiled(session, [each.name for each in feeds], [fetch.name])
        for feeds, fetch in (((x, y), solved), ((w, x), product))
    )
    return (lambda x, y: solve(x, y)[0]), (lambda w, x: multiply(w, x)[0])


def _least_squares(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Weights `[n, F]` of inputs `[s, F]`, for each of the targets `[n, s]`; see the module."""
    inputs, targets = tf.cast(x, tf.float64), tf.cast(y, tf.float64)
    mean, variance = tf.nn.moments(targets, 1, keepdims=True)
    counts = tf.exp(tf.math.divide_no_nan(targets - mean, tf.sqrt(variance)))
    # [n, s, F]
    counted = counts[:, :, None] * inputs
    gram = tf.matmul(counted, tf.broadcast_to(inputs, tf.shape(counted)), transpose_a=True)
    ridge = _RIDGE * tf.reduce_mean(tf.linalg.diag_part(gram), 1)[:, None, None]
    gram += ridge * tf.eye(tf.shape(x)[1], dtype=tf.float64)
    projected = tf.matmul(counted, targets[:, :, None], transpose_a=True)
    return tf.cast(tf.linalg.solve(gram, projected)[:, :, 0], tf.float32)
