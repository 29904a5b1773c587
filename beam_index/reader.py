"""Reads an index back, record by record, in the order and with the checks of its format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from beam_index.files import read_records
from protos.errors import UserError
from protos.index_pb2 import BlockTile, PostingList
from protos.postings import Postings, decode


def posting_lists(directory: str | os.PathLike[str]) -> Iterator[Postings]:
    """The lists of an index, decoded, by ascending key; holds one at a time.

    Raises:
      UserError: a file is damaged, keys do not ascend, or a list has not one score above 0 an item.
    """
    previous = -1
    for record in read_records(directory, "postings"):
        found = decode(PostingList.FromString(record), directory)
        if found.key <= previous:
            raise UserError(
                f"index {directory}: list {found.key} stands after list {previous}; keys must ascend; build it again"
            )
        previous = found.key
        yield found


class Tile(NamedTuple):
    """A tile of the completion block, decoded.

    Attributes:
      first_code: position of its first code among all.
      first_item: its first catalogue row.
      values: `[codes, items]` float32, relu(S + bias).
    """

    first_code: int
    first_item: int
    values: np.ndarray


def block_tiles(directory: str | os.PathLike[str]) -> Iterator[Tile]:
    """The tiles of the completion block, by ascending code, then item; none if the index has no block.

    Raises:
      UserError: a file is damaged, or a tile has not one byte a code and item.
    """
    for record in read_records(directory, "block"):
        tile = BlockTile.FromString(record)
        offset, scale, levels = tile_arrays(tile, directory)
        yield Tile(tile.first_code, tile.first_item, offset + scale * levels)


def tile_arrays(tile: BlockTile, directory: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offset `[n, 1]` and scale `[n, 1]` float32 and levels `[n, w]` uint8 of a tile of the index at `directory`.

    Raises:
      UserError: the tile has not one byte a code and item.
    """
    if not len(tile.values) == len(tile.offset) * tile.num_items == len(tile.scale) * tile.num_items:
        raise UserError(
            f"index {directory}: the block's tile at item {tile.first_item} has {len(tile.values)} bytes,"
            f" {len(tile.offset)} offsets and {len(tile.scale)} scales for {tile.num_items} items; build it again"
        )
    levels = np.frombuffer(tile.values, np.uint8).reshape(len(tile.offset), tile.num_items)
    offset, scale = (np.array(column, np.float32)[:, None] for column in (tile.offset, tile.scale))
    return offset, scale, levels
