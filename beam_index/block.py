"""The completion block: what every code adds to every item, in 8 bits a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from beam_index.geometry import Span
from protos.errors import UserError
from protos.index_pb2 import BlockTile

BITS = 8
_LEVELS = np.float32(2**BITS - 1)
# A tile is one message, and a message cannot pass 2 GiB: codes x (4,096 bytes + offset and scale).
MAX_CODES = 500_000


class TilePart(NamedTuple):
    """One chunk of codes in one tile of items: value = offset + scale * byte.

    Attributes:
      tile: number of the tile.
      chunk: number of the chunk.
      offset: `[n]` float32, the least value of each code.
      scale: `[n]` float32, value of one step.
      values: `[n, w]` uint8.
    """

    tile: int
    chunk: int
    offset: np.ndarray
    scale: np.ndarray
    values: np.ndarray


def quantize(tile: int, chunk: int, scores: np.ndarray, bias: np.float32) -> TilePart:
    """relu(S + bias) in 8 bits, affine for each code.

    Decoded, a value is off by half a step at most; a code whose values are all equal is exact.

    Args:
      tile: number of the tile.
      chunk: number of the chunk of codes.
      scores: `[n, w]` float32.
      bias: of the model.
    """
    values = np.maximum(scores + bias, np.float32(0))
    offset = values.min(axis=1)
    scale = (values.max(axis=1) - offset) / _LEVELS
    steps = np.where(scale > 0, scale, np.float32(1))[:, None]
    levels = np.where(scale[:, None] > 0, np.rint((values - offset[:, None]) / steps), np.float32(0))
    return TilePart(tile, chunk, offset, scale, np.minimum(levels, _LEVELS).astype(np.uint8))


def block_tile(items: Span, parts: Sequence[TilePart]) -> BlockTile:
    """The message of a tile from the parts of all its chunks, ascending."""
    return BlockTile(
        first_item=items.start,
        num_items=items.width,
        offset=np.concatenate([part.offset for part in parts]),
        scale=np.concatenate([part.scale for part in parts]),
        values=b"".join(part.values.tobytes() for part in parts),
    )


def require_block_fits(num_codes: int) -> None:
    """Raises UserError where a tile would be larger than a message can be."""
    if num_codes > MAX_CODES:
        raise UserError(
            f"a completion block of {num_codes:,} codes is too large: the most is {MAX_CODES:,}; build with --no_block,"
            " or index fewer codes (--codes observed, or a smaller code space)"
        )
