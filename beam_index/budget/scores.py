"""The scores of a sample's codes with the whole catalogue, made once and kept while they fit into memory."""

from __future__ import annotations

import numpy as np

from beam_index.block import quantize
from beam_index.geometry import Span, chunk_count, chunk_span, tile_of, tile_span
from beam_index.plan import Plan
from beam_index.postings import RunningBest
from beam_index.tiles import TileScorer

# Of the scores that are kept; tiles past it are scored again whenever they are needed.
_MEMORY = 1 << 30


class SampleScores:
    """Scores S of D codes.

    Attributes:
      keys: `[D]` int64, ascending.
      ranks: `[D, <= depth]` uint64, the best of each, ascending; see postings.py.
    """

    def __init__(self, keys: np.ndarray, depth: int, plan: Plan) -> None:
        """Scores `keys [D]` with all items and keeps `depth` ranks of each."""
        self.keys = keys
        self.bias = np.float32(plan.bias)
        self._plan, self._tiles = plan, TileScorer(plan)
        self._kept: dict[int, np.ndarray] = {}
        best = RunningBest(len(keys), depth, plan.floor)
        for tile in range(plan.num_tiles if len(keys) else 0):
            best.add(self.tile(tile), tile_span(tile, plan.num_items).start)
        self.ranks = best.ranks()

    def tile(self, tile: int) -> np.ndarray:
        """S `[D, w]` of one tile; not to be changed."""
        if tile in self._kept:
            return self._kept[tile]
        scores = self._scored(tile)
        if sum(kept.nbytes for kept in self._kept.values()) + scores.nbytes <= _MEMORY:
            self._kept[tile] = scores
        return scores

    def _scored(self, tile: int) -> np.ndarray:
        scores = np.empty((len(self.keys), tile_span(tile, self._plan.num_items).width), np.float32)
        for chunk in range(chunk_count(len(self.keys))):
            codes = chunk_span(chunk, len(self.keys))
            scores[codes.start : codes.stop] = self._tiles.scores(self.keys[codes.start : codes.stop], tile)
        return scores


class Exact:
    """Contributions as the scorer makes them."""

    def __init__(self, scores: SampleScores) -> None:
        self.keys, self._scores = scores.keys, scores

    def tile(self, items: Span) -> np.ndarray:
        """relu(S + bias), `[D, items.width]`."""
        scores = self._scores.tile(tile_of(items.start))
        return np.maximum(scores + self._scores.bias, np.float32(0))


class InBlockToBe:
    """Contributions as the completion block would hold them."""

    def __init__(self, scores: SampleScores) -> None:
        self.keys, self._scores = scores.keys, scores

    def tile(self, items: Span) -> np.ndarray:
        """The bytes of a tile decoded, `[D, items.width]`."""
        offset, scale, levels = quantize(self._scores.tile(tile_of(items.start)), self._scores.bias)
        return offset[:, None] + scale[:, None] * levels.astype(np.float32)
