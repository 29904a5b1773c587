"""Scores some codes against some tiles, and keeps of them what an index holds: best ranks, and bytes of the block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np

from beam_index.block import TilePart, quantize
from beam_index.geometry import Span, tile_span
from beam_index.plan import Plan
from beam_index.postings import RunningBest, stacked
from beam_index.scoring import Parts, cut, shared_scorer

T = TypeVar("T")


class Scored(NamedTuple):
    """Of n codes and some tiles.

    Attributes:
      ranks: `[n, <= depth]` uint64, each row ascending.
      blocks: for each tile, parts of the block for consecutive codes; none if the plan has no block.
    """

    ranks: np.ndarray
    blocks: list[list[TilePart]]


class TileScorer:
    """The work of a build, piece by piece. One serves a process; its memory is that of one piece and of cached parts.

    The codes of a chunk are cut into calls, and each call goes through all tiles by itself in one thread: what
    a tile's scores become is made while they are in the processor's cache.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.scorer = shared_scorer(plan)
        # A call runs in its caller's thread (see SavedModel), so the cores are filled by many calls.
        self.callers = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="score")

    def score(self, keys: np.ndarray, tiles: Iterable[int]) -> Scored:
        """Scores code keys `[n]`, 1 to CHUNK_CODES, against tiles, ascending.

        Raises:
          UserError: see Scorer.
        """
        tiles = list(tiles)
        codes = self.scorer.code_parts(keys)
        items = [self.scorer.item_parts(tile) for tile in tiles]
        scored = self.by_call(lambda own: self._score_call(keys[own], cut(codes, own), items, tiles), len(keys))
        ranks = stacked([each.ranks for each in scored])
        return Scored(ranks, [list(parts) for parts in zip(*(each.blocks for each in scored), strict=True)])

    def by_call(self, function: Callable[[slice], T], num_codes: int) -> list[T]:
        """What a function makes of the codes of each call, by their places among `num_codes`; on all cores."""
        width = self.plan.call_codes
        return list(self.callers.map(function, (slice(at, at + width) for at in range(0, num_codes, width))))

    def scores(self, keys: np.ndarray, tile: int) -> np.ndarray:
        """S of code keys `[n]`, 1 to CHUNK_CODES, with one tile, `[n, w]` float32; -bias of removed items."""
        span = tile_span(tile, self.plan.num_items)
        codes, items = self.scorer.code_parts(keys), self.scorer.item_parts(tile)
        scored = self.by_call(lambda own: self._checked(keys[own], cut(codes, own), items, span), len(keys))
        return np.concatenate(scored)

    def _checked(self, keys: np.ndarray, codes: Parts, items: Parts, span: Span) -> np.ndarray:
        """S of the codes of one call with one tile, which must be finite; -bias of removed items."""
        scores = self.scorer.scores(codes, items, span.width)[: len(keys)]
        self.scorer.require_finite(scores, keys, range(span.start, span.stop))
        scores[:, self.plan.removed_in(span)] = self.plan.floor
        return scores

    def _score_call(self, keys: np.ndarray, codes: Parts, items: list[Parts], tiles: list[int]) -> Scored:
        """The codes of one call against all tiles; `blocks` has one part a tile."""
        plan, blocks = self.plan, []
        best = RunningBest(len(keys), plan.depth, plan.floor)
        for parts, tile in zip(items, tiles, strict=True):
            span = tile_span(tile, plan.num_items)
            scores = self._checked(keys, codes, parts, span)
            best.add(scores, span.start)
            if plan.block:
                blocks.append(quantize(scores, np.float32(plan.bias)))
        return Scored(best.ranks(), blocks)
