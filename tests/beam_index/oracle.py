"""What an index must hold, worked out item by item from all scores. Slow, and shares no code with beam_index."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from beam_index.reader import block_tiles, posting_lists


class List(NamedTuple):
    """One posting list."""

    key: int
    threshold: float
    items: list[int]
    scores: list[float]


def expected_list(key: int, scores: np.ndarray, bias: float, limit: int) -> List:
    """The list of one code by the contract, from its scores `[I]` float32."""
    floor = np.float32(-bias)
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
    threshold = floor
    if len(order) > limit and scores[order[limit]] > floor:
        threshold = scores[order[limit]]
    stored = [(row, np.float32(scores[row] - threshold)) for row in order[:limit]]
    stored = [(row, score) for row, score in stored if score > 0]
    return List(key, float(threshold), [row for row, _ in stored], [float(score) for _, score in stored])


def expected_lists(table: np.ndarray, bias: float, limit: int, keys: list[int] | None = None) -> list[List]:
    """The lists of an index from all scores `[C, I]`."""
    keys = list(range(len(table))) if keys is None else keys
    return [expected_list(key, table[key], bias, limit) for key in keys]


def ready_lists(export: pathlib.Path, bias: float) -> list[List]:
    """The ready lists of an export as an index must hold them."""
    rows = pq.read_table(export / "lists.parquet").to_pylist()
    return [List(row["key"], float(np.float32(-bias)), row["items"], row["scores"]) for row in rows]


def written_lists(index: pathlib.Path) -> list[List]:
    """The lists in the files of an index."""
    return [List(each.key, each.threshold, list(each.items), list(each.scores)) for each in posting_lists(index)]


def written_bytes(index: pathlib.Path, kind: str) -> bytes:
    """The bytes of all shards of a kind, one after the other."""
    return b"".join(path.read_bytes() for path in sorted(index.glob(f"{kind}-*")))


def written_block(index: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Decoded values `[C, I]` of the block, and for each the step between two levels."""
    values, steps = [], []
    for tile in block_tiles(index):
        levels = np.array(list(tile.values), np.float64).reshape(-1, tile.num_items)
        offset, scale = np.array(tile.offset)[:, None], np.array(tile.scale)[:, None]
        values.append(offset + scale * levels)
        steps.append(np.broadcast_to(scale, levels.shape))
    return np.concatenate(values, axis=1), np.concatenate(steps, axis=1)
