"""The files of the completion block: one a chunk of codes and span of items, written by who has scored them."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence

from beam_index.block import TilePart, block_tile
from beam_index.files import read_file, shard_name, write_records
from beam_index.geometry import CHUNK_CODES, chunk_count, span_count, tile_of, tile_span, tiles_of
from beam_index.plan import Plan
from protos.index_pb2 import BlockTile

# Bytes of a tile's record beside its values, offsets and scales.
MAX_OVERHEAD = 64


def block_file(chunk: int, span: int, num_codes: int, num_items: int) -> str:
    """Name of the file of a chunk of codes and a span of items."""
    spans = span_count(num_items)
    return shard_name("block", chunk * spans + span, chunk_count(num_codes) * spans)


def write_block(
    plan: Plan, chunk: int, span: int, num_codes: int, scored: Mapping[int, Sequence[TilePart]], base: str | None = None
) -> None:
    """Writes the file of a chunk and span, its tiles ascending.

    Args:
      plan: of the build.
      chunk: of codes.
      span: of items.
      num_codes: of all chunks.
      scored: tile to its parts.
      base: file with the records of the tiles that are not in `scored`.
    """
    kept = dict(_records(pathlib.Path(base))) if base and len(scored) < len(tiles_of(span, plan.num_items)) else {}
    records = (
        block_tile(chunk * CHUNK_CODES, tile_span(tile, plan.num_items).start, scored[tile]).SerializeToString()
        if tile in scored
        else kept[tile]
        for tile in tiles_of(span, plan.num_items)
    )
    write_records(plan.path(block_file(chunk, span, num_codes, plan.num_items)), records)


def _records(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    for record in read_file(path):
        yield tile_of(BlockTile.FromString(record).first_item), record
