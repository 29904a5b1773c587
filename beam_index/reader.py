"""Reads an index back, record by record, in the order and with the checks of its format."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from beam_index.files import read_records
from protos.errors import UserError
from protos.index_pb2 import BlockTile, PostingList


def posting_lists(directory: str | os.PathLike[str]) -> Iterator[PostingList]:
    """The lists of an index, by ascending key; holds one at a time.

    Raises:
      UserError: a file is damaged, keys do not ascend, or a list has not one score above 0 an item.
    """
    previous = -1
    for record in read_records(directory, "postings"):
        found = PostingList.FromString(record)
        if found.key <= previous:
            raise UserError(
                f"index {directory}: list {found.key} stands after list {previous}; keys must ascend; build it again"
            )
        if len(found.items) != len(found.scores) or min(found.scores, default=1.0) <= 0:
            raise UserError(
                f"index {directory}: list {found.key} has {len(found.items)} items and {len(found.scores)} scores,"
                " expected one score above 0 for each item; build it again"
            )
        previous = found.key
        yield found


def block_tiles(directory: str | os.PathLike[str]) -> Iterator[BlockTile]:
    """The tiles of the completion block, by ascending item; none if the index has no block.

    Raises:
      UserError: a file is damaged, tiles do not follow one another, or a tile has not one byte a
        code and item.
    """
    next_item = 0
    for record in read_records(directory, "block"):
        tile = BlockTile.FromString(record)
        if tile.first_item != next_item:
            raise UserError(
                f"index {directory}: its block has a tile that starts at item {tile.first_item}, expected {next_item};"
                " build it again"
            )
        if not len(tile.values) == len(tile.offset) * tile.num_items == len(tile.scale) * tile.num_items:
            raise UserError(
                f"index {directory}: the block's tile at item {tile.first_item} has {len(tile.values)} bytes,"
                f" {len(tile.offset)} offsets and {len(tile.scale)} scales for {tile.num_items} items; build it again"
            )
        next_item += tile.num_items
        yield tile


def decode(tile: BlockTile) -> np.ndarray:
    """Values relu(S + bias) of a tile: `[codes, items]` float32."""
    levels = np.frombuffer(tile.values, np.uint8).reshape(len(tile.offset), tile.num_items)
    offset, scale = (np.array(column, np.float32)[:, None] for column in (tile.offset, tile.scale))
    return offset + scale * levels
