"""What an index must hold, worked out item by item from all scores. Slow, and shares no code with beam_index."""

from __future__ import annotations

import pathlib
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from beam_index.files import read_records
from beam_index.reader import posting_lists
from protos.index_pb2 import BlockTile


class List(NamedTuple):
    """One posting list."""

    key: int
    threshold: float
    items: list[int]
    scores: list[float]


def expected_list(key: int, scores: np.ndarray, bias: float, limit: int, least: float = -np.inf) -> List:
    """The list of one code by the contract, from its scores `[I]` float32; `least`: a threshold of all lists."""
    floor = np.float32(max(-bias, least))
    order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
    threshold = floor
    if len(order) > limit and scores[order[limit]] > floor:
        threshold = scores[order[limit]]
    stored = [(row, np.float32(scores[row] - threshold)) for row in order[:limit]]
    stored = [(row, score) for row, score in stored if score > 0]
    return List(key, float(threshold), [row for row, _ in stored], [float(score) for _, score in stored])


def expected_lists(table: np.ndarray, bias: float, limit: int, least: float = -np.inf) -> list[List]:
    """The lists of an index from all scores `[C, I]`."""
    return [expected_list(key, scores, bias, limit, least) for key, scores in enumerate(table)]


def ready_lists(export: pathlib.Path, bias: float) -> list[List]:
    """The ready lists of an export as an index must hold them."""
    rows = pq.read_table(export / "lists.parquet").to_pylist()
    return [List(row["key"], float(np.float32(-bias)), row["items"], row["scores"]) for row in rows]


def written_lists(index: pathlib.Path) -> list[List]:
    """The lists in the files of an index."""
    return [List(each.key, each.threshold, each.items.tolist(), each.scores.tolist()) for each in posting_lists(index)]


def written_bytes(index: pathlib.Path, kind: str) -> bytes:
    """The bytes of all shards of a kind, one after the other."""
    return b"".join(path.read_bytes() for path in sorted(index.glob(f"{kind}-*")))


def written_block(index: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Decoded values `[C, I]` of the block, and for each the step between two levels."""
    tiles = [BlockTile.FromString(record) for record in read_records(index, "block")]
    shape = (
        max(tile.first_code + len(tile.offset) for tile in tiles),
        max(tile.first_item + tile.num_items for tile in tiles),
    )
    values, steps = np.full((2, *shape), np.nan)
    for tile in tiles:
        levels = np.array(list(tile.values), np.float64).reshape(-1, tile.num_items)
        offset, scale = np.array(tile.offset)[:, None], np.array(tile.scale)[:, None]
        codes = slice(tile.first_code, tile.first_code + len(levels))
        items = slice(tile.first_item, tile.first_item + tile.num_items)
        assert np.isnan(values[codes, items]).all()  # each pair once
        values[codes, items], steps[codes, items] = offset + scale * levels, scale
    return values, steps
