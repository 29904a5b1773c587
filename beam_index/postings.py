"""Posting lists: the best items of each code, merged from tiles as arrays.

An item in a list is one integer, its *rank*: the score's bits, turned so that a higher score makes a
smaller integer, above the catalogue row. Ranks of different items differ, and ascending ranks are
the order (-S, row) of the lists, ties and all. So the best L are the L smallest of a set of
integers, which no order of merging can change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import apache_beam as beam
import numpy as np

from beam_index.sparsity import above, list_threshold
from protos.index_pb2 import PostingList

# Above every rank of a finite score: fills up rows that hold fewer ranks than others.
NO_RANK = np.uint64(2**64 - 1)
_SIGN = np.uint32(2**31)
_ROW_BITS = np.uint64(32)
_ROW_MASK = np.uint64(2**32 - 1)


def to_ranks(scores: np.ndarray, first_row: int, floor: np.float32) -> np.ndarray:
    """Ranks of a tile's scores.

    Args:
      scores: `[n, w]` float32, finite.
      first_row: catalogue row of the first column.
      floor: -bias; what is not above it counts nothing and has NO_RANK.

    Returns:
      `[n, w]` uint64.
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0 makes -0.0, equal to 0.0, equal in bits
    # Floats of one sign order as their bits do: negative ones in reverse.
    descending = np.where(bits & _SIGN, bits, ~(bits | _SIGN))
    rows = np.arange(first_row, first_row + scores.shape[1], dtype=np.uint64)
    return np.where(scores > floor, descending.astype(np.uint64) << _ROW_BITS | rows, NO_RANK)


def from_ranks(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `to_ranks` for ranks other than NO_RANK: scores float32 and rows int32."""
    descending = (ranks >> _ROW_BITS).astype(np.uint32)
    bits = np.where(descending & _SIGN, descending, ~descending & ~_SIGN)
    return bits.view(np.float32), (ranks & _ROW_MASK).astype(np.int32)


def best_ranks(parts: Iterable[np.ndarray], count: int) -> np.ndarray:
    """The `count` smallest ranks of each row, in no order: `[n, w_1] .. [n, w_p]` to `[n, <= count]`."""
    ranks = np.concatenate(list(parts), axis=1)
    if ranks.shape[1] <= count:
        return ranks
    return np.partition(ranks, count - 1, axis=1)[:, :count].copy()  # the copy lets the wide array go


class Merged(NamedTuple):
    """Ranks merged so far, and of how many tiles; counted so that a tile that a runner loses is missed.

    Attributes:
      tiles: how many.
      ranks: `[n, w]` uint64; None while there are none, since the number of codes is not known then.
    """

    tiles: int
    ranks: np.ndarray | None


class BestRanks(beam.CombineFn):
    """Combines `[n, w]` ranks of the same n codes to the `count` best of each, ascending."""

    def __init__(self, count: int) -> None:
        self._count = count

    def create_accumulator(self) -> Merged:
        """Nothing merged."""
        return Merged(0, None)

    def add_input(self, accumulator: Merged, ranks: np.ndarray) -> Merged:
        """Adds the ranks of one tile. Accumulators are never changed in place: Beam may use an input again."""
        return self.merge_accumulators([accumulator, Merged(1, ranks)])

    def merge_accumulators(self, accumulators: Iterable[Merged]) -> Merged:
        """Merges as many as there are at once."""
        merged = [accumulator for accumulator in accumulators if accumulator.ranks is not None]
        if not merged:
            return Merged(0, None)
        ranks = best_ranks([accumulator.ranks for accumulator in merged], self._count)
        return Merged(sum(accumulator.tiles for accumulator in merged), ranks)

    def extract_output(self, accumulator: Merged) -> Merged:
        """`ranks [n, <= count]`, each row ascending, and the number of tiles they are from."""
        return Merged(accumulator.tiles, np.sort(accumulator.ranks, axis=1))


def posting_list(key: int, ranks: np.ndarray, limit: int, floor: np.float32) -> PostingList:
    """The list of one code.

    Args:
      key: of the code.
      ranks: `[k]` uint64, ascending: its best items above the floor, `limit + 1` of them where there
        are so many; then any number of NO_RANK.
      limit: most postings of the list.
      floor: -bias of the model.
    """
    best, rows = from_ranks(ranks[: np.searchsorted(ranks, NO_RANK)])
    threshold = list_threshold(best, limit, floor)
    scores = above(best, threshold)
    items = rows[: len(scores)]
    return PostingList(key=key, threshold=threshold, items=items.tolist(), scores=scores.tolist())
