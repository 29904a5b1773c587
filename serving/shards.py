"""Item shards: one index as several servables, each with the postings of a range of items.

A shard has every list of the index, those without a posting of its own too, and rows mean the same in all of them. So
all shards encode a query to the same codes and fall back to the same lists, an item's score is made in its own shard
alone, and the best of all shards together are those of the whole index. Shard 0 has the first rows of the catalogue,
the next shard those after them: in the order of shards, items of equal score stand in the order of rows.
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

    def describe(self, num_items: int) -> dict[str, int]:
        """What a manifest says of it."""
        items = self.items(num_items)
        return {**dataclasses.asdict(self), "first_item": items.start, "items": len(items)}


def shard_index(index: Index, shard: Shard, num_items: int) -> Index:
    """An index of `num_items` items without the postings, and the columns of the block, that other shards have.

    The block's tiles stay whole at its beginning: it has up to a tile's width of columns before the shard's first item.

    Raises:
      UserError: there are fewer items than shards.
    """
    items = shard.items(num_items)
    if shard.count == 1:
        return index
    kept = np.flatnonzero((index.items >= items.start) & (index.items < items.stop))
    return dataclasses.replace(
        index,
        offsets=np.searchsorted(kept, index.offsets),
        items=index.items[kept],
        scores=index.scores[kept],
        block=None if index.block is None else _columns(index.block, items),
    )


def _columns(block: Block, items: range) -> Block:
    first_tile, end_tile = items.start // block.tile_items, -(-items.stop // block.tile_items)
    first_item = first_tile * block.tile_items
    return dataclasses.replace(
        block,
        values=block.values[:, first_item : items.stop],
        offset=block.offset[:, first_tile:end_tile],
        scale=block.scale[:, first_tile:end_tile],
        first_item=first_item,
    )
