"""What codes add to items, relu(S + bias), by tiles of items: from the scorer, from the block, or from memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from beam_index.geometry import Span, chunk_count, chunk_span
from beam_index.plan import Plan
from beam_index.reader import block_tiles
from beam_index.scoring import Scorer
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
        self._scorer = Scorer(plan)

    def tile(self, items: Span) -> np.ndarray:
        """See `Contributions`."""
        values = np.empty((len(self.keys), items.width), np.float32)
        for chunk in range(chunk_count(len(self.keys))):
            codes = chunk_span(chunk, len(self.keys))
            scores = self._scorer.score(self.keys[codes.start : codes.stop], items)
            values[codes.start : codes.stop] = np.maximum(scores + self._bias, np.float32(0))
        return values


class InBlock:
    """The contributions that an index has in its completion block."""

    def __init__(self, keys: np.ndarray, code_keys: np.ndarray, directory: str | os.PathLike[str]) -> None:
        """Reads the block once, tile by tile.

        Args:
          keys: `[D]` int64, ascending, all of them among `code_keys`.
          code_keys: of all lists of codes of the index, ascending, empty ones included: the rows of its block.
          directory: of the index.
        """
        self.keys = keys
        self._rows = np.searchsorted(code_keys, keys)
        self._num_codes = len(code_keys)
        self._directory = directory
        self._tiles: Iterator[BlockTile] = iter(())

    def tile(self, items: Span) -> np.ndarray:
        """See `Contributions`.

        Raises:
          UserError: the block has another tile there.
        """
        if items.start == 0:
            self._tiles = block_tiles(self._directory)
        tile = next(self._tiles, None)
        found = None if tile is None else (tile.first_item, tile.num_items, len(tile.offset))
        if found != (items.start, items.width, self._num_codes):
            raise UserError(
                f"index {self._directory}: its block has a tile of (first item, items, codes) {found}, expected"
                f" {(items.start, items.width, self._num_codes)}; build it again"
            )
        return _decoded(tile, self._rows)


def _decoded(tile: BlockTile, rows: np.ndarray) -> np.ndarray:
    """Values of some codes only: decoded, a tile of all codes can be gigabytes."""
    levels = np.frombuffer(tile.values, np.uint8).reshape(len(tile.offset), tile.num_items)[rows]
    offset, scale = (np.array(column, np.float32)[rows, None] for column in (tile.offset, tile.scale))
    return offset + scale * levels.astype(np.float32)
