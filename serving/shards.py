"""Item shards: one index as several servables, each with the postings of a range of items.

A shard has every list of the index, those without a posting of its own too: so all shards encode a query to the same
codes and fall back to the same lists, an item's score is made in its own shard alone, and the best of all shards
together are those of the whole index. Shard 0 has the first rows of the catalogue, the next shard those after them:
in the order of shards, items of equal score stand in the order of rows.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from protos.errors import UserError
from serving.index import Block, Index


@dataclasses.dataclass(frozen=True)
class Shard:
    """One of `count` shards, numbered from 0."""

    number: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that "0/4" names.

        Raises:
          UserError: it names none.
        """
        parts = text.split("/")
        if len(parts) == 2 and all(part.isascii() and part.isdecimal() for part in parts):
            shard = cls(*map(int, parts))
            if shard.number < shard.count:
                return shard
        raise UserError(f"--shard {text}: expected NUMBER/COUNT, the first shard of four being 0/4, the last 3/4")

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def items(self, num_items: int) -> range:
        """Its rows of a catalogue; shards differ by at most one item.

        Raises:
          UserError: there are fewer items than shards.
        """
        if self.count > num_items:
            raise UserError(f"--shard {self}: {num_items} items cannot be split into {self.count} shards")
        start, stop = (edge * num_items // self.count for edge in (self.number, self.number + 1))
        return range(start, stop)


@dataclasses.dataclass(frozen=True)
class IndexShard:
    """A shard of an index, as an index of a catalogue of its own.

    Attributes:
      index: whose row 0 is row `first_row` of the whole catalogue.
      first_row: the first item of the shard, or where there is a block the first of its tile: up to there, items
        belong to the shard before and have no postings here.
      items: the rows of the whole catalogue that are the shard's.
    """

    index: Index
    first_row: int
    items: range

    @property
    def rows(self) -> slice:
        """The rows of the whole catalogue that the shard's catalogue has."""
        return slice(self.first_row, self.items.stop)


def shard_index(index: Index, shard: Shard, num_items: int) -> IndexShard:
    """The part of an index of `num_items` items that scores those of a shard.

    All of its lists stay, with the postings of these items; some are left with none.

    Raises:
      UserError: there are fewer items than shards.
    """
    items = shard.items(num_items)
    if shard.count == 1:
        return IndexShard(index, 0, items)
    first_row = items.start
    if index.block is not None:
        first_row -= items.start % index.block.tile_items
    kept = np.flatnonzero((index.items >= items.start) & (index.items < items.stop))
    part = dataclasses.replace(
        index,
        offsets=np.searchsorted(kept, index.offsets),
        items=index.items[kept] - np.int32(first_row),
        scores=index.scores[kept],
        block=None if index.block is None else _columns(index.block, slice(first_row, items.stop)),
    )
    return IndexShard(part, first_row, items)


def _columns(block: Block, rows: slice) -> Block:
    """The block of some items, of whose rows the first begins a tile."""
    tiles = slice(rows.start // block.tile_items, -(-rows.stop // block.tile_items))
    return dataclasses.replace(
        block, values=block.values[:, rows], offset=block.offset[:, tiles], scale=block.scale[:, tiles]
    )
