"""What codes add to items, relu(S + bias), by tiles of items: from the scorer, from the block, or from memory."""

from __future__ import annotations

import os
import pathlib
from typing import Protocol

import numpy as np

from beam_index.block_files import block_file
from beam_index.files import read_file
from beam_index.geometry import CHUNK_CODES, SPAN_TILES, Span, chunk_count, chunk_span, tile_of, tile_span, tiles_of
from beam_index.plan import Plan
from beam_index.reader import tile_arrays
from beam_index.tiles import TileScorer
from protos.errors import UserError
from protos.index_pb2 import BlockTile


class Contributions(Protocol):
    """Contributions of D codes to all items.

    Attributes:
      keys: `[D]` int64, ascending.
    """

    keys: np.ndarray

    def tile(self, items: Span) -> np.ndarray:
        """Those to one tile, `[D, items.width]` float32. Tiles are asked for in ascending order, from the first."""
        ...


class InMemory:
    """Contributions that are there."""

    def __init__(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Holds `values [D, I]` float32 of `keys [D]`, ascending."""
        self.keys = keys
        self._values = values

    def tile(self, items: Span) -> np.ndarray:
        """See `Contributions`."""
        return self._values[:, items.start : items.stop]


class Scored:
    """Exact contributions: the export's scorer asked, as the build asks it."""

    def __init__(self, keys: np.ndarray, plan: Plan) -> None:
        """Scores `keys [D]`, ascending, with the scorer of `plan`'s model."""
        self.keys = keys
        self._bias = np.float32(plan.bias)
        self._tiles = TileScorer(plan)

    def tile(self, items: Span) -> np.ndarray:
        """See `Contributions`."""
        values = np.empty((len(self.keys), items.width), np.float32)
        for chunk in range(chunk_count(len(self.keys))):
            codes = chunk_span(chunk, len(self.keys))
            scores = self._tiles.scores(self.keys[codes.start : codes.stop], tile_of(items.start))
            values[codes.start : codes.stop] = np.maximum(scores + self._bias, np.float32(0))
        return values


class InBlock:
    """The contributions that an index has in its completion block."""

    def __init__(
        self, keys: np.ndarray, code_keys: np.ndarray, directory: str | os.PathLike[str], num_items: int
    ) -> None:
        """Reads the block once, span by span; holds a byte for each of the codes and items of one.

        Args:
          keys: `[D]` int64, ascending, all of them among `code_keys`.
          code_keys: of all lists of codes of the index, ascending, empty ones included: the codes of its block.
          directory: of the index.
          num_items: of the catalogue.
        """
        self.keys = keys
        self._rows = np.searchsorted(code_keys, keys)
        self._num_codes, self._num_items = len(code_keys), num_items
        self._directory = pathlib.Path(directory)
        self._span, self._tiles = -1, {}

    def tile(self, items: Span) -> np.ndarray:
        """See `Contributions`.

        Raises:
          UserError: a file of the block is missing, damaged or of another shape.
        """
        tile = tile_of(items.start)
        if tile // SPAN_TILES != self._span:
            self._span = tile // SPAN_TILES
            self._tiles = self._read(self._span)
        offset, scale, levels = self._tiles[tile]
        return offset + scale * levels.astype(np.float32)

    def _read(self, span: int) -> dict[int, tuple[np.ndarray, ...]]:
        """Tile -> offset `[D, 1]`, scale `[D, 1]` and levels `[D, w]` of the codes wanted, of one span."""
        parts = {tile: [_nothing(tile, self._num_items)] for tile in tiles_of(span, self._num_items)}
        for chunk in np.unique(self._rows // CHUNK_CODES):
            name = block_file(int(chunk), span, self._num_codes, self._num_items)
            wanted = self._rows[self._rows // CHUNK_CODES == chunk] - chunk * CHUNK_CODES
            for record in read_file(self._directory / name):
                message = BlockTile.FromString(record)
                tile, arrays = self._number(message), tile_arrays(message, self._directory)
                parts[tile].append(tuple(array[wanted] for array in arrays))
        return {tile: tuple(np.concatenate(part) for part in zip(*found, strict=True)) for tile, found in parts.items()}

    def _number(self, message: BlockTile) -> int:
        """The tile that a message is of."""
        tile = tile_of(message.first_item)
        expected = tile_span(tile, self._num_items)
        if (message.first_item, message.num_items) != (expected.start, expected.width):
            raise UserError(
                f"index {self._directory}: its block has a tile of {message.num_items} items from item"
                f" {message.first_item} on, expected {expected.width} from item {expected.start} on; build it again"
            )
        return tile


def _nothing(tile: int, num_items: int) -> tuple[np.ndarray, ...]:
    """What `tile_arrays` gives of no codes."""
    none = np.zeros((0, 1), np.float32)
    return none, none, np.zeros((0, tile_span(tile, num_items).width), np.uint8)
