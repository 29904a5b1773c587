"""How codes x items are cut into pieces of work.

Everything is computed in the same padded shapes, cut at the same places, however the work is spread
over workers and files: a sum of floats can depend on the shape of the matrix it is computed in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

# Width of the tiles of the completion block: part of the format of the index.
TILE_ITEMS = 4096
# Tiles of a span, which is scored in one go and has files of the block of its own.
SPAN_TILES = 32
# Codes whose parts are made together.
CHUNK_CODES = 256
# Items of one call of the scorer.
CALL_ITEMS = 1024
# Codes of one call: fewer the more a pair costs, so that the layers of a call fit a processor's cache.
_CALL_CODES = (16, 64)
_CALL_FLOPS = 1e8


def call_codes(pair_flops: float) -> int:
    """Codes of one call of a scorer of so many FLOPs a pair: of the model only, for bits depend on it."""
    least, most = _CALL_CODES
    fit = _CALL_FLOPS / (CALL_ITEMS * max(pair_flops, 1))
    return max(least, min(most, 2 ** int(np.log2(max(fit, 1)))))


def tile_count(num_items: int) -> int:
    """Number of tiles of a catalogue."""
    return -(-num_items // TILE_ITEMS)


def chunk_count(num_codes: int) -> int:
    """Number of chunks of codes."""
    return -(-num_codes // CHUNK_CODES)


def tile_of(row: int | np.ndarray) -> int | np.ndarray:
    """The tile that a catalogue row is in, or of each of several."""
    return row // TILE_ITEMS


def call_width(num_items: int) -> int:
    """Items of whole calls for so many."""
    return -(-num_items // CALL_ITEMS) * CALL_ITEMS


def span_count(num_items: int) -> int:
    """Number of spans of a catalogue."""
    return -(-tile_count(num_items) // SPAN_TILES)


def tiles_of(span: int, num_items: int) -> range:
    """The tiles of a span; the last span may have fewer."""
    return range(span * SPAN_TILES, min((span + 1) * SPAN_TILES, tile_count(num_items)))


@dataclasses.dataclass(frozen=True)
class Span:
    """Consecutive positions `start .. stop - 1`."""

    start: int
    stop: int

    @property
    def width(self) -> int:
        """Number of positions."""
        return self.stop - self.start


def tile_span(tile: int, num_items: int) -> Span:
    """Catalogue rows of a tile; the last tile may be narrower."""
    return Span(tile * TILE_ITEMS, min((tile + 1) * TILE_ITEMS, num_items))


def items_of(tiles: Iterable[int], num_items: int) -> int:
    """Number of items of some tiles."""
    return sum(tile_span(tile, num_items).width for tile in tiles)


def chunk_span(chunk: int, num_codes: int) -> Span:
    """Positions, among all codes in ascending key order, of a chunk."""
    return Span(chunk * CHUNK_CODES, min((chunk + 1) * CHUNK_CODES, num_codes))


def shard_of(position: int, num_shards: int, count: int) -> int:
    """The file that position `position` of `count` goes into; files differ by at most one position."""
    return ((position + 1) * num_shards - 1) // count


def shard_span(shard: int, num_shards: int, count: int) -> Span:
    """The positions out of `count` that go into a file: those whose `shard_of` it is."""
    return Span(shard * count // num_shards, (shard + 1) * count // num_shards)


def cut_by_shard(span: Span, num_shards: int, count: int) -> Iterator[tuple[int, Span]]:
    """The parts of a span of positions out of `count` that go into the same file, with its number."""
    first, last = (shard_of(position, num_shards, count) for position in (span.start, span.stop - 1))
    for shard in range(first, last + 1):
        whole = shard_span(shard, num_shards, count)
        part = Span(max(span.start, whole.start), min(span.stop, whole.stop))
        if part.width > 0:
            yield shard, part
