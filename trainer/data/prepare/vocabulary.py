"""The catalogue's ids, from one pass over the events: counts in bounded memory, the tail in buckets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import datasketches
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data.prepare.hashing import buckets

_LOAD = 0.75  # of the sketch's table, beyond which it forgets the rarest


class ItemCounts:
    """How often items occur: exact while they are at most `capacity`, beyond that the frequent ones within bounds.

    The sketch of frequent items of Misra and Gries in Anderson et al., "A High-Performance Algorithm for Identifying
    Frequent Items in Data Streams" (IMC 2017). What it holds depends on the order of `add` and `merge` alone.

    Args:
      capacity: distinct items, at least one.
    """

    def __init__(self, capacity: int) -> None:
        size = max(3, math.ceil(math.log2(capacity / _LOAD)))
        self._sketch = datasketches.frequent_strings_sketch(size)

    def add(self, item: str, count: int) -> None:
        """Counts an item."""
        self._sketch.update(item, count)

    def merge(self, content: bytes) -> None:
        """Adds what another one has counted, by its `to_bytes`."""
        self._sketch.merge(datasketches.frequent_strings_sketch.deserialize(content))

    def to_bytes(self) -> bytes:
        """What it has counted."""
        return self._sketch.serialize()

    @property
    def error(self) -> int:
        """How much counts may be too high; items whose count is no higher may be missing. 0: all is exact."""
        return self._sketch.get_upper_bound("")  # no item has this id, so what is said of it is the bound alone

    def ranked(self) -> list[str]:
        """The items by descending count, those of equal counts in canonical order."""
        found = self._sketch.get_frequent_items(datasketches.frequent_items_error_type.NO_FALSE_NEGATIVES, 0)
        return [item for item, _, _, _ in sorted(found, key=lambda row: (-row[1], len(row[0]), row[0]))]


class Catalogue(NamedTuple):
    """Ids by row: those of items of their own in canonical order, then names for the buckets of the tail.

    Attributes:
      ids: of items.
      tail: of buckets; none where there are none.
      left_out: items of training known to be in no row of their own; more of them may not be known.
      error: see ItemCounts.
    """

    ids: tuple[str, ...]
    tail: tuple[str, ...]
    left_out: int
    error: int

    def __len__(self) -> int:
        return len(self.ids) + len(self.tail)


def make_catalogue(counts: Iterable[bytes], capacity: int, max_items: int, tail_buckets: int) -> Catalogue:
    """The most frequent items, from counts that are merged in their order."""
    merged = ItemCounts(capacity)
    for content in counts:
        merged.merge(content)
    ranked = merged.ranked()
    kept = tuple(sorted(ranked[:max_items], key=lambda item: (len(item), item)))
    return Catalogue(kept, _tail_names(kept, tail_buckets), len(ranked) - len(kept), merged.error)


def _tail_names(taken: tuple[str, ...], count: int) -> tuple[str, ...]:
    mark = "tail"
    while any(item.startswith(f"{mark}-") for item in taken):
        mark = f"{mark}_"
    return tuple(f"{mark}-{bucket}" for bucket in range(count))


def rows_of_ids(ids: list[str], known: pa.Array, tail_buckets: int) -> np.ndarray:
    """`[N]` int32 rows: of items of their own, of the tail's buckets for all others; -1 where there are none."""
    rows = pc.index_in(pa.array(ids, pa.string()), known).fill_null(-1).to_numpy().astype(np.int32)
    unknown = np.flatnonzero(rows < 0)
    if tail_buckets and len(unknown):
        rows[unknown] = len(known) + buckets([ids[place] for place in unknown.tolist()], tail_buckets)
    return rows
