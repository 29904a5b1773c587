import pytest

from beam_index.files import read_records, shard_name, write_records
from beam_index.reader import block_tiles, posting_lists
from protos.errors import UserError
from protos.index_pb2 import BlockTile, PostingList

RECORDS = [b"one", b"", b"three" * 1000]


def write_lists(directory, lists: list[PostingList]) -> None:
    write_records(directory / shard_name("postings", 0, 1), [each.SerializeToString() for each in lists])


def test_records_come_back_in_the_order_of_their_shards(tmp_path):
    for shard in reversed(range(3)):
        write_records(tmp_path / shard_name("postings", shard, 3), [b"%d" % shard, *RECORDS])
    assert list(read_records(tmp_path, "postings")) == [
        each for shard in range(3) for each in (b"%d" % shard, *RECORDS)
    ]
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        shard_name("postings", shard, 3) for shard in range(3)
    ]


def test_a_shard_without_records_is_a_file_without_records(tmp_path):
    write_records(tmp_path / shard_name("postings", 0, 1), [])
    assert list(read_records(tmp_path, "postings")) == []


def test_writing_where_one_cannot_names_the_file_and_the_reason(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*postings-00000-of-00001.*No such file"):
        write_records(tmp_path / "missing" / shard_name("postings", 0, 1), RECORDS)


def test_a_failure_while_records_are_made_leaves_no_shard(tmp_path):
    def records():
        yield b"one"
        raise UserError("bad scores")

    with pytest.raises(UserError, match="bad scores"):
        write_records(tmp_path / shard_name("postings", 0, 1), records())
    assert not list(tmp_path.glob("postings-*"))


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_a_damaged_shard_is_named(tmp_path, damage):
    path = tmp_path / shard_name("postings", 0, 1)
    write_records(path, RECORDS)
    content = path.read_bytes()
    path.write_bytes(content[:-7] if damage == "truncated" else content[:-9] + b"X" + content[-8:])
    with pytest.raises(UserError, match=r"postings-00000-of-00001\.tfrecord is truncated or damaged"):
        list(read_records(tmp_path, "postings"))


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([PostingList(key=3), PostingList(key=3)], "list 3 stands after list 3"),
        ([PostingList(key=3), PostingList(key=1)], "list 1 stands after list 3"),
        ([PostingList(key=1, items=[4, 5], scores=[1.0])], "list 1 has 2 items and 1 scores"),
        ([PostingList(key=1, items=[4, 5], scores=[1.0, 0.0])], "expected one finite score above 0"),
    ],
)
def test_lists_that_contradict_the_format_are_refused(tmp_path, lists, message):
    write_lists(tmp_path, lists)
    with pytest.raises(UserError, match=message):
        list(posting_lists(tmp_path))


@pytest.mark.parametrize(
    ("tile", "message"),
    [
        (BlockTile(first_item=4, num_items=1, offset=[0], scale=[], values=b"0"), "tile at item 4 has.* and 0 scales"),
        (BlockTile(first_item=0, num_items=2, offset=[0], scale=[0], values=b"0"), "has 1 bytes, 1 offsets"),
    ],
)
def test_tiles_that_contradict_the_format_are_refused(tmp_path, tile, message):
    write_records(tmp_path / shard_name("block", 0, 1), [tile.SerializeToString()])
    with pytest.raises(UserError, match=message):
        list(block_tiles(tmp_path))
