"""An update: the index of a catalogue that has changed, from the one before it (`--base_index`).

A tile of items is scored anew if anything in it was added, changed or removed. Of all other tiles the base
keeps the best ranks, exact scores and all. A code's list is whole again if its `L + 1` best, of what was kept
and of what was scored anew, are better than the worst that was kept: what the base did not keep is worse.
Codes of which so many items have gone that this fails are scored in full.
"""

from __future__ import annotations

import os

import numpy as np

from beam_index.block_files import block_file, write_block
from beam_index.geometry import items_of, span_count, tile_of, tiles_of
from beam_index.plan import Plan
from beam_index.postings import NO_RANK, best_ranks, rows_of
from beam_index.ranks import UNKNOWN, read_ranks
from beam_index.tiles import TileScorer


class Updater:
    """Makes the ranks of a chunk from those of the base and from the tiles that have changed."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._tiles = plan, TileScorer(plan)

    def ranks(self, chunk: int, _: int, keys: np.ndarray, num_codes: int) -> tuple[np.ndarray, int]:
        """The best ranks `[n, depth]` of the codes of a chunk, `keys [n]`, and how many pairs were scored.

        Writes the chunk's files of the block.
        """
        plan = self._plan
        base = read_ranks(plan.base.directory, chunk, keys, num_codes)
        stale = np.array(plan.base.stale_tiles, np.int64)
        changed = [tile for tile in plan.base.stale_tiles if tile < plan.num_tiles]
        scored = self._tiles.score(keys, changed)
        if plan.block:
            self._write_block(chunk, num_codes, dict(zip(changed, scored.blocks, strict=True)))
        merged = merge(base, scored.ranks, stale, plan.depth)
        short = merged[:, plan.postings_per_code] == UNKNOWN
        if short.any():
            whole = self._tiles.score(keys, range(plan.num_tiles)).ranks
            merged[short] = NO_RANK
            merged[short, : whole.shape[1]] = whole[short]
        pairs = len(keys) * (items_of(changed, plan.num_items) + plan.num_items * bool(short.any()))
        return merged, pairs

    def _write_block(self, chunk: int, num_codes: int, scored: dict) -> None:
        plan = self._plan
        for span in range(span_count(plan.num_items)):
            own = {tile: scored[tile] for tile in tiles_of(span, plan.num_items) if tile in scored}
            old = os.path.join(plan.base.directory, block_file(chunk, span, num_codes, plan.base.num_items))
            write_block(plan, chunk, span, num_codes, own, old)


def merge(base: np.ndarray, anew: np.ndarray, stale: np.ndarray, depth: int) -> np.ndarray:
    """The best ranks that are known for sure.

    Args:
      base: `[n, d]` uint64, ascending; the best ones of all tiles as they were: all of them if NO_RANK is among them.
      anew: `[n, a]` uint64, of those tiles among `stale` that there are, as they are now.
      stale: `[t]` numbers of the tiles of which the base does not count.
      depth: width of the result.

    Returns:
      `[n, depth]` uint64, ascending: the best ranks of all tiles as they are now; UNKNOWN from the place on where what
      the base has not kept might come.
    """
    known = base < UNKNOWN
    worst = np.where(known, base, 0).max(axis=1, keepdims=True)
    worst = np.where(base[:, -1:] == NO_RANK, NO_RANK, worst)
    kept = np.where(known & ~np.isin(tile_of(rows_of(base)), stale), base, NO_RANK)
    merged = np.sort(best_ranks([kept, anew, np.full((len(base), depth), NO_RANK)], depth), axis=1)
    return np.where((merged > worst) | ((merged == NO_RANK) & (worst != NO_RANK)), UNKNOWN, merged)
