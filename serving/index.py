"""Reads an index: the posting lists and the completion block, checked against its manifest."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from protos.artifact import read_manifest
from protos.codes import CodeSpace
from protos.errors import UserError
from protos.index_pb2 import BlockTile, PostingList
from protos.postings import Postings, decode
from protos.progress import bar

INDEX_FORMAT = "sparcode.index/3"
_BATCH_RECORDS = 64


@dataclasses.dataclass(frozen=True)
class Block:
    """Contributions of every scored list's code to every item: `offset + scale * value`, by tiles of items.

    One row more than there are scored lists: the last is all zeros, what a token without a list contributes.
    (The largest of all arrays is made with it here, for adding it later would copy the array.)

    Attributes:
      values: `[S + 1, I]` uint8.
      offset: `[S + 1, T]` float32, T tiles.
      scale: `[S + 1, T]` float32.
      tile_items: items of a tile; the last tile may hold fewer.
      first_item: the row of the first column; only of a shard's block it is not 0.
    """

    values: np.ndarray
    offset: np.ndarray
    scale: np.ndarray
    tile_items: int
    first_item: int = 0


@dataclasses.dataclass(frozen=True)
class Index:
    """An index in memory. Only its non-empty lists: an empty one is as good as none to a query.
    (A shard has all of them, some without a posting: see `serving.shards`.)

    The lists of scored codes come first, then the ready lists, whose keys lie past the code space.

    Attributes:
      manifest: the index's `manifest.json`.
      space: all codes of quantised tokens.
      keys: `[C]` int64, ascending; the key of each list.
      offsets: `[C + 1]` int64; list `c` has the postings `offsets[c]` to `offsets[c + 1] - 1`.
      items: `[P]` int32 catalogue rows.
      scores: `[P]` float32, all > 0.
      block: rows in the order of the scored lists; None if the index has none or it was not asked for.
    """

    manifest: Mapping[str, Any]
    space: CodeSpace
    keys: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    block: Block | None

    @property
    def num_scored(self) -> int:
        """S, the number of scored lists."""
        return int(np.searchsorted(self.keys, self.space.size))


def read_index(directory: pathlib.Path, *, with_block: bool) -> Index:
    """Reads the index at `directory`, its block only if `with_block`.

    Raises:
      UserError: the directory is no complete index (missing, truncated or changed files), or what
        its files hold contradicts the manifest.
    """
    manifest = read_manifest(directory, INDEX_FORMAT)
    model = manifest["model"]
    space = CodeSpace(model["num_slots"], model["num_codebooks"], model["num_codewords"])
    keys, lengths, items, scores = _read_postings(directory, manifest)
    num_codes, codes = int((keys < space.size).sum()), manifest["codes"]
    _require(num_codes == codes, directory, f"it has {num_codes} lists of codes, its manifest says {codes}")
    listed = lengths > 0
    block = _read_block(directory, manifest, listed[:codes]) if with_block and manifest["block"] else None
    offsets = np.concatenate([[0], np.cumsum(lengths[listed])]).astype(np.int64)
    return Index(manifest, space, keys[listed], offsets, items, scores, block)


def _records(directory: pathlib.Path, manifest: Mapping[str, Any], prefix: str) -> Iterator[bytes]:
    paths = [str(directory / name) for name in sorted(manifest["files"]) if name.startswith(prefix)]
    # In batches: a record at a time costs a call of TensorFlow each.
    for batch in tf.data.TFRecordDataset(paths).batch(_BATCH_RECORDS).as_numpy_iterator():
        yield from batch


def _read_postings(directory: pathlib.Path, manifest: Mapping[str, Any]) -> Sequence[np.ndarray]:
    """Keys `[C]`, lengths `[C]`, items `[P]` and scores `[P]` of all lists, empty ones included."""
    num_lists, num_postings = manifest["codes"] + manifest["ready_lists"], manifest["postings"]
    keys, lengths = np.zeros(num_lists, np.int64), np.zeros(num_lists, np.int64)
    items, scores = np.zeros(num_postings, np.int32), np.zeros(num_postings, np.float32)
    lists = end = 0
    records = _records(directory, manifest, "postings-")
    for lists, record in enumerate(bar(num_lists, "reading lists", "list", iterable=records, leave=False), start=1):
        posting_list = decode(PostingList.FromString(record), directory)
        start, end = end, end + len(posting_list.items)
        _check_list(directory, manifest, posting_list, fits=lists <= num_lists and end <= num_postings)
        keys[lists - 1], lengths[lists - 1] = posting_list.key, len(posting_list.items)
        items[start:end], scores[start:end] = posting_list.items, posting_list.scores
    _require(lists == num_lists, directory, f"it has {lists} posting lists, its manifest says {num_lists}")
    _require(end == num_postings, directory, f"it has {end} postings, its manifest says {num_postings}")
    _require(bool((np.diff(keys) > 0).all()), directory, "its posting lists are not in ascending order of their keys")
    return keys, lengths, items, scores


def _check_list(directory: pathlib.Path, manifest: Mapping[str, Any], found: Postings, *, fits: bool) -> None:
    _require(fits, directory, f"at list {found.key} it holds more than the manifest counts")
    items, num_items = found.items, manifest["items"]
    _require(len(np.unique(items)) == len(items), directory, f"list {found.key} names an item twice")
    outside = items[(items < 0) | (items >= num_items)]
    _require(
        not outside.size,
        directory,
        f"list {found.key} names item row {outside[:1].tolist()}; the catalogue's rows are 0 to {num_items - 1}",
    )


def _read_block(directory: pathlib.Path, manifest: Mapping[str, Any], listed: np.ndarray) -> Block:
    """Reads the block's rows of the `listed` codes (bool, over all scored codes of the index)."""
    tile_items, num_items = manifest["block"]["tile_items"], manifest["items"]
    num_tiles = -(-num_items // tile_items)
    num_listed = int(listed.sum())
    values = np.zeros((num_listed + 1, num_items), np.uint8)
    offset, scale = np.zeros((2, num_listed + 1, num_tiles), np.float32)
    rows = np.cumsum(listed) - 1
    covered = np.zeros((len(listed), num_tiles), bool)
    records = _records(directory, manifest, "block-")
    for record in bar(None, "reading the block", "tile", iterable=records, leave=False):
        tile = BlockTile.FromString(record)
        codes, number = _check_tile(directory, tile, covered, tile_items, num_items)
        kept = listed[codes]
        at, first = rows[codes][kept], tile.first_item
        content = np.frombuffer(tile.values, np.uint8).reshape(-1, tile.num_items)
        values[at, first : first + tile.num_items] = content[kept]
        offset[at, number] = np.asarray(tile.offset, np.float32)[kept]
        scale[at, number] = np.asarray(tile.scale, np.float32)[kept]
        covered[codes, number] = True
    _require(bool(covered.all()), directory, f"its block lacks {int((~covered).sum())} of its codes' tiles")
    return Block(values, offset, scale, tile_items)


def _check_tile(
    directory: pathlib.Path, tile: BlockTile, covered: np.ndarray, tile_items: int, num_items: int
) -> tuple[slice, int]:
    """The codes and the number of a tile that fits, and of which nothing has been read before."""
    number, misplaced = divmod(tile.first_item, tile_items)
    codes = slice(tile.first_code, tile.first_code + len(tile.offset))
    num_codes, num_tiles = covered.shape
    width = min(tile_items, num_items - tile.first_item)
    sizes = (tile.num_items, len(tile.scale), len(tile.values))
    _require(
        not misplaced
        and 0 <= number < num_tiles
        and 0 <= codes.start <= codes.stop <= num_codes
        and sizes == (width, len(tile.offset), len(tile.offset) * width)
        and not covered[codes, number].any(),
        directory,
        f"a block tile of codes {codes.start} to {codes.stop - 1} of {num_codes} starts at item {tile.first_item} of"
        f" {num_items} and has {sizes} items, scales and bytes, or is there twice",
    )
    return codes, number


def _require(condition: bool, directory: pathlib.Path, found: str) -> None:
    if not condition:
        raise UserError(f"index {directory} contradicts itself: {found}; build the index again")
