"""The completion block: what every code adds to every item, in 8 bits a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from protos.index_pb2 import BlockTile

BITS = 8
_LEVELS = np.float32(2**BITS - 1)


class TilePart(NamedTuple):
    """Some codes in one tile of items: value = offset + scale * byte.

    Attributes:
      offset: `[n]` float32, the least value of each code.
      scale: `[n]` float32, value of one step.
      values: `[n, w]` uint8.
    """

    offset: np.ndarray
    scale: np.ndarray
    values: np.ndarray


def quantize(scores: np.ndarray, bias: np.float32) -> TilePart:
    """relu(S + bias) in 8 bits, affine for each code.

    Decoded, a value is off by half a step at most; a code whose values are all equal is exact.

    Args:
      scores: `[n, w]` float32; -inf of an item that is to count nothing.
      bias: of the model.
    """
    offset = np.maximum(scores.min(axis=1) + bias, np.float32(0))
    scale = (np.maximum(scores.max(axis=1) + bias, np.float32(0)) - offset) / _LEVELS
    levels = scores - (offset - bias)[:, None]
    levels /= np.where(scale > 0, scale, np.float32(np.inf))[:, None]
    np.rint(levels, out=levels)
    np.clip(levels, 0, _LEVELS, out=levels)
    return TilePart(offset, scale, levels.astype(np.uint8))


def block_tile(first_code: int, first_item: int, parts: Sequence[TilePart]) -> BlockTile:
    """The message of a tile from the parts of consecutive codes."""
    return BlockTile(
        first_code=first_code,
        first_item=first_item,
        num_items=parts[0].values.shape[1],
        offset=np.concatenate([part.offset for part in parts]),
        scale=np.concatenate([part.scale for part in parts]),
        values=b"".join(part.values.tobytes() for part in parts),
    )
