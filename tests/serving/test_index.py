"""Reading an index: what was written comes back, and what is broken is named."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from protos.artifact import MANIFEST, write_manifest
from protos.errors import UserError
from protos.index_pb2 import BlockTile, PostingList
from serving.index import INDEX_FORMAT, read_index
from tests.support.exports import PRODUCT, write_tiny_export
from tests.support.indexes import TinyIndexSpec, score_matrix, write_tiny_index

KEYS = [1, 4, 5, 11]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_export(tmp_path_factory.mktemp("export") / "model", PRODUCT)


@pytest.fixture
def directory(model, tmp_path):
    return write_tiny_index(tmp_path / "index", model, TinyIndexSpec(keys=KEYS))


def test_lists_and_block_are_those_of_the_scorer(model, directory):
    index = read_index(directory, with_block=True)
    contributions = np.maximum(score_matrix(model, KEYS) + np.float32(PRODUCT.bias), 0)
    assert index.keys[: index.num_scored].tolist() == KEYS
    for row, expected in enumerate(contributions):
        postings = slice(index.offsets[row], index.offsets[row + 1])
        assert sorted(index.items[postings]) == np.flatnonzero(expected).tolist()
        np.testing.assert_array_equal(index.scores[postings], expected[index.items[postings]])
    tiles = np.arange(PRODUCT.num_items) // index.block.tile_items
    scale = index.block.scale[:, tiles]
    values = index.block.offset[:, tiles] + scale * index.block.values
    assert (np.abs(values[:-1] - contributions) <= scale[:-1] * 0.5001).all()
    assert not values[-1].any(), "the row of no list"


def test_ready_lists_follow_as_they_are(model, directory):
    index = read_index(directory, with_block=True)
    expected = pq.read_table(model / "lists.parquet").to_pydict()
    assert len(expected["key"]) > 20
    assert index.keys[index.num_scored :].tolist() == expected["key"]
    for row, (items, scores) in enumerate(zip(expected["items"], expected["scores"], strict=True), start=len(KEYS)):
        postings = slice(index.offsets[row], index.offsets[row + 1])
        assert index.items[postings].tolist() == items
        assert index.scores[postings].tolist() == scores


def test_block_is_left_out_when_not_asked_for_or_not_there(model, directory, tmp_path):
    assert read_index(directory, with_block=False).block is None
    without = write_tiny_index(tmp_path / "other", model, TinyIndexSpec(keys=KEYS, block=False))
    assert read_index(without, with_block=True).block is None


def write_records(path, messages):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for message in messages:
            writer.write(message.SerializeToString())


def write_index(directory, lists, tiles, **counts):
    """An index of 5 items whose manifest is consistent with its files, but maybe not with itself."""
    directory.mkdir()
    write_records(directory / "postings-00000-of-00001.tfrecord", lists)
    write_records(directory / "block-00000-of-00001.tfrecord", tiles)
    codes = sum(entry.key < NUM_CODES for entry in lists)
    expected = {"items": 5, "codes": codes, "ready_lists": len(lists) - codes}
    expected["postings"] = sum(len(entry.items) for entry in lists)
    model = {"num_slots": 1, "num_codebooks": 2, "num_codewords": 3}
    write_manifest(directory, INDEX_FORMAT, **expected | counts, model=model, block={"bits": 8, "tile_items": 3})
    return directory


NUM_CODES = 9
LISTS = [PostingList(key=3, items=[4, 0], scores=[2, 1]), PostingList(key=5), PostingList(key=7, items=[1], scores=[1])]
READY = [PostingList(key=9), PostingList(key=12, items=[2, 3], scores=[5, 1])]
TILES = [
    BlockTile(first_item=0, num_items=3, offset=[1, 2, 3], scale=[4, 5, 6], values=bytes(range(9))),
    BlockTile(first_item=3, num_items=2, offset=[7, 8, 9], scale=[1, 2, 3], values=bytes(range(10, 16))),
]


def test_empty_lists_and_their_block_rows_are_left_out(tmp_path):
    index = read_index(write_index(tmp_path / "index", [*LISTS, *READY], TILES), with_block=True)
    assert index.keys.tolist() == [3, 7, 12]
    assert index.num_scored == 2
    assert index.offsets.tolist() == [0, 2, 3, 5]
    assert index.items.tolist() == [4, 0, 1, 2, 3]
    assert index.block.values.tolist() == [[0, 1, 2, 10, 11], [6, 7, 8, 14, 15], [0, 0, 0, 0, 0]]
    assert index.block.offset.tolist() == [[1, 7], [3, 9], [0, 0]]
    assert index.block.scale.tolist() == [[4, 1], [6, 3], [0, 0]]


BROKEN = {
    "row outside": ({"lists": [PostingList(key=0, items=[5], scores=[1])]}, "list 0 names item row [5]; the catalogue"),
    "negative row": ({"lists": [PostingList(key=0, items=[-1], scores=[1])]}, "list 0 names item row [-1]"),
    "scores missing": ({"lists": [PostingList(key=9, items=[1, 2], scores=[1])]}, "list 9 has 2 items and 1 scores"),
    "item twice": ({"lists": [PostingList(key=9, items=[1, 1], scores=[2, 1])]}, "list 9 names an item twice"),
    "score 0": ({"lists": [PostingList(key=9, items=[1], scores=[0])]}, "expected one finite score above 0"),
    "score NaN": ({"lists": [PostingList(key=9, items=[1], scores=[np.nan])]}, "expected one finite score above 0"),
    "order": ({"lists": LISTS[::-1]}, "not in ascending order of their keys"),
    "a list missing": ({"codes": 4}, "it has 3 posting lists, its manifest says 4"),
    "a ready list missing": ({"ready_lists": 1}, "it has 3 posting lists, its manifest says 4"),
    "a ready list for a code": (
        {"lists": [*LISTS, *READY], "codes": 4, "ready_lists": 1},
        "it has 3 lists of codes, its",
    ),
    "postings missing": ({"postings": 9}, "it has 3 postings, its manifest says 9"),
    "too many lists": ({"codes": 2}, "at list 7 it holds more than the manifest counts"),
    "too many postings": ({"postings": 1}, "at list 3 it holds more than the manifest counts"),
    "a tile missing": ({"tiles": TILES[:1]}, "its block lacks 3 of its codes' tiles"),
    "too many tiles": (
        {"tiles": [*TILES, TILES[1]]},
        "starts at item 3 of 5 and has (2, 3, 6) items, scales and bytes, or is there twice",
    ),
    "a tile too far": (
        {"tiles": [BlockTile(first_item=6, num_items=0)]},
        "a block tile of codes 0 to -1 of 3 starts at item 6",
    ),
    "codes too many": (
        {"tiles": [*TILES, BlockTile(first_code=3, num_items=3, offset=[1], scale=[1], values=b"abc")]},
        "a block tile of codes 3 to 3 of 3 starts at item 0",
    ),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_contradictions_are_named(tmp_path, change, message):
    directory = write_index(tmp_path / "index", **{"lists": LISTS, "tiles": TILES} | change)
    with pytest.raises(UserError) as raised:
        read_index(directory, with_block=True)
    assert message in str(raised.value)
    assert f"index {directory} contradicts itself" in str(raised.value)


def test_tiles_may_come_in_any_order_and_in_pieces(tmp_path):
    whole = read_index(write_index(tmp_path / "whole", LISTS, TILES), with_block=True).block
    pieces = [
        BlockTile(first_code=2, first_item=0, num_items=3, offset=[3], scale=[6], values=bytes(range(6, 9))),
        TILES[1],
        BlockTile(first_code=0, first_item=0, num_items=3, offset=[1, 2], scale=[4, 5], values=bytes(range(6))),
    ]
    found = read_index(write_index(tmp_path / "pieces", LISTS, pieces), with_block=True).block
    for name in ("values", "offset", "scale"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


def test_truncated_postings_are_named(directory):
    path = directory / "postings-00001-of-00002.tfrecord"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UserError, match=r"postings-00001-of-00002.tfrecord has \d+ bytes, its manifest .* truncated"):
        read_index(directory, with_block=False)


def test_changed_and_missing_files_are_named(directory):
    path = directory / "postings-00001-of-00002.tfrecord"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(UserError, match="does not match the checksum"):
        read_index(directory, with_block=False)
    path.unlink()
    with pytest.raises(UserError, match="is missing though the manifest lists it"):
        read_index(directory, with_block=False)


def test_other_directories_are_refused(model, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_index(tmp_path / "nowhere", with_block=False)
    with pytest.raises(UserError, match=r"format is 'sparcode.export/2', expected 'sparcode.index/3'"):
        read_index(model, with_block=False)


def test_the_manifest_is_the_one_on_disk(directory):
    assert read_index(directory, with_block=False).manifest == json.loads((directory / MANIFEST).read_text())
