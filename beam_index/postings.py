"""Posting lists: the best items of each code, merged from tiles and spans as arrays.

An item in a list is one integer, its *rank*: the score's bits, turned so that a higher score makes a
smaller integer, above the catalogue row. Ranks of different items differ, and ascending ranks are
the order (-S, row) of the lists, ties and all. So the best L are the L smallest of a set of
integers, which no order of merging can change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import apache_beam as beam
import numpy as np

from beam_index.sparsity import above, list_threshold
from protos.postings import Postings

# Above every rank of a finite score: fills up rows that hold fewer ranks than others.
NO_RANK = np.uint64(2**64 - 1)
_SIGN = np.uint32(2**31)
_ROW_BITS = np.uint64(32)
_ROW_MASK = np.uint64(2**32 - 1)


def to_ranks(scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Ranks `[...]` uint64 of scores `[...]` float32, finite, of catalogue rows `[...]`."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0 makes -0.0, equal to 0.0, equal in bits
    # Floats of one sign order as their bits do: negative ones in reverse.
    descending = np.where(bits & _SIGN, bits, ~(bits | _SIGN))
    return descending.astype(np.uint64) << _ROW_BITS | rows.astype(np.uint64)


def from_ranks(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `to_ranks` for ranks other than NO_RANK: scores float32 and rows int32."""
    descending = (ranks >> _ROW_BITS).astype(np.uint32)
    bits = np.where(descending & _SIGN, descending, ~descending & ~_SIGN)
    return bits.view(np.float32), (ranks & _ROW_MASK).astype(np.int32)


def rows_of(ranks: np.ndarray) -> np.ndarray:
    """The catalogue rows `[...]` int64 of ranks `[...]`."""
    return (ranks & _ROW_MASK).astype(np.int64)


def widened(ranks: np.ndarray, width: int) -> np.ndarray:
    """Ranks `[n, w]` filled up with NO_RANK to `[n, width]`."""
    return np.pad(ranks, [(0, 0), (0, width - ranks.shape[1])], constant_values=NO_RANK)


def stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Ranks of several sets of codes, `[n_1, w_1] .. [n_p, w_p]`, below one another; the narrower are filled up."""
    width = max(part.shape[1] for part in parts)
    return np.concatenate([widened(part, width) for part in parts])


def best_ranks(parts: Iterable[np.ndarray], count: int) -> np.ndarray:
    """The `count` smallest ranks of each row, in no order: `[n, w_1] .. [n, w_p]` to `[n, <= count]`."""
    ranks = np.concatenate(list(parts), axis=1)
    if ranks.shape[1] <= count:
        return ranks
    return np.partition(ranks, count - 1, axis=1)[:, :count].copy()  # the copy lets the wide array go


class RunningBest:
    """The best ranks of n codes, from scores that come by ascending rows.

    A score is looked at twice only if it is above the code's `count` best so far: after the first tiles few are.

    Args:
      num_codes: n.
      count: ranks to keep of each code.
      floor: -bias; scores up to it count nothing.
    """

    def __init__(self, num_codes: int, count: int, floor: np.float32) -> None:
        self._count = count
        self._ranks = np.full((num_codes, 0), NO_RANK)
        self._filled = np.zeros(num_codes, np.int64)
        self._least = np.full(num_codes, floor, np.float32)

    def add(self, scores: np.ndarray, first_row: int) -> None:
        """Adds scores `[n, w]` float32, finite or -inf, whose first column is of catalogue row `first_row`."""
        num_codes, width = scores.shape
        if not self._filled.any() and width > self._count:
            # Of the first tile, only what may be among the best of it.
            enough = np.partition(scores, width - self._count, axis=1)[:, width - self._count]
            self._least = np.maximum(self._least, np.nextafter(enough, np.float32(-np.inf)))
        # An equal score of a later row has a greater rank: it would not displace what is there.
        at = np.flatnonzero(scores > self._least[:, None])
        codes, columns = np.divmod(at, width)
        added = np.bincount(codes, minlength=num_codes)
        self._make_room(int((self._filled + added).max()))
        places = self._filled[codes] + np.arange(len(at)) - np.repeat(np.cumsum(added) - added, added)
        self._ranks[codes, places] = to_ranks(scores.ravel()[at], first_row + columns)
        self._filled += added
        if self._filled.max() > 2 * self._count:
            self._compact()

    def ranks(self) -> np.ndarray:
        """`[n, <= count]` uint64, each row ascending."""
        self._compact()
        return np.sort(self._ranks[:, : self._filled.max(initial=0)], axis=1)

    def _make_room(self, width: int) -> None:
        if width > self._ranks.shape[1]:
            self._ranks = widened(self._ranks, width)

    def _compact(self) -> None:
        count = self._count
        if self._filled.max(initial=0) <= count:
            return
        self._ranks = np.partition(self._ranks, count - 1, axis=1)
        self._ranks[:, count:] = NO_RANK
        full = self._filled >= count
        self._filled = np.minimum(self._filled, count)
        self._least[full] = from_ranks(self._ranks[full, count - 1])[0]


class Merged(NamedTuple):
    """Ranks merged so far, and of how many spans; counted so that a span that a runner loses is missed.

    Attributes:
      spans: how many.
      ranks: `[n, w]` uint64; None while there are none, since the number of codes is not known then.
    """

    spans: int
    ranks: np.ndarray | None


class BestRanks(beam.CombineFn):
    """Combines `[n, w]` ranks of the same n codes to the `count` best of each, ascending."""

    def __init__(self, count: int) -> None:
        self._count = count

    def create_accumulator(self) -> Merged:
        """Nothing merged."""
        return Merged(0, None)

    def add_input(self, accumulator: Merged, ranks: np.ndarray) -> Merged:
        """Adds the ranks of one span. Accumulators are never changed in place: Beam may use an input again."""
        return self.merge_accumulators([accumulator, Merged(1, ranks)])

    def merge_accumulators(self, accumulators: Iterable[Merged]) -> Merged:
        """Merges as many as there are at once."""
        merged = [accumulator for accumulator in accumulators if accumulator.ranks is not None]
        if not merged:
            return Merged(0, None)
        ranks = best_ranks([accumulator.ranks for accumulator in merged], self._count)
        return Merged(sum(accumulator.spans for accumulator in merged), ranks)

    def extract_output(self, accumulator: Merged) -> Merged:
        """`ranks [n, <= count]`, each row ascending, and the number of spans they are from."""
        return Merged(accumulator.spans, np.sort(accumulator.ranks, axis=1))


def listed_scores(ranks: np.ndarray, limit: int, floor: np.float32) -> np.ndarray:
    """Scores S `[p]`, descending, of what the list of one code holds; see `posting_list`."""
    best, _ = from_ranks(ranks[: np.searchsorted(ranks, NO_RANK)])
    return best[best > list_threshold(best, limit, floor)]


def posting_list(key: int, ranks: np.ndarray, limit: int, floor: np.float32) -> Postings:
    """The list of one code.

    Args:
      key: of the code.
      ranks: `[k]` uint64, ascending: its best items above -bias, `limit + 1` of them where there
        are so many; then any number of NO_RANK.
      limit: most postings of the list.
      floor: -bias of the model, or a threshold above it.
    """
    best, rows = from_ranks(ranks[: np.searchsorted(ranks, NO_RANK)])
    threshold = list_threshold(best, limit, floor)
    scores = above(best, threshold)
    return Postings(key, float(threshold), rows[: len(scores)], scores)
