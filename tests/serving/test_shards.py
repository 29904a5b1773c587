"""Item shards: whatever they are asked, all together answer what one index does, ties included."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.errors import UserError
from serving.client import Recommendation
from serving.client.sharded import merge
from serving.index import Index
from serving.shards import Shard, shard_index
from serving.sums import Tokens
from tests.serving.test_ranking import SCORE, indexes, queries, ranking


def answers(found: tuple[tf.Tensor, tf.Tensor]) -> list[Recommendation]:
    """The rows that were found, as public ids."""
    made = []
    for rows, scores in zip(*(part.numpy() for part in found), strict=True):
        valid = scores > 0
        ids = tuple(map(str, rows[valid].tolist()))
        made.append(Recommendation(ids, tuple(scores[valid].tolist()), (), (), (), 1))
    return made


@pytest.mark.parametrize("sums", SCORE)
@settings(max_examples=25)
@given(data=st.data())
def test_the_best_of_all_shards_are_the_best_of_the_index(sums, data):
    index = data.draw(indexes())
    tokens, excluded = data.draw(queries(index))
    num_items = index.block.values.shape[1]
    k, count = data.draw(st.integers(1, 40)), data.draw(st.integers(1, min(4, num_items)))
    query = Tokens(*map(tf.constant, tokens)), tf.constant(excluded), k
    parts = [shard_index(index, Shard(number, count), num_items) for number in range(count)]
    whole, *of_shards = (answers(ranking(sums, part).best(*query)) for part in [index, *parts])
    assert [merge(of_query, k) for of_query in zip(*of_shards, strict=True)] == whole


@settings(max_examples=100)
@given(data=st.data())
def test_every_posting_and_every_score_of_the_block_is_in_one_shard(data):
    index = data.draw(indexes())
    num_items = index.block.values.shape[1]
    count = data.draw(st.integers(1, num_items))
    postings, covered = [], []
    for number in range(count):
        shard = Shard(number, count)
        part, items = shard_index(index, shard, num_items), shard.items(num_items)
        np.testing.assert_array_equal(part.keys, index.keys)
        assert set(part.items.tolist()) <= set(items)
        postings += triples(part)
        covered += items
        for row in items:
            np.testing.assert_array_equal(contributions(part, row), contributions(index, row), err_msg=str(row))
    assert covered == list(range(num_items))
    assert sorted(postings) == sorted(triples(index))


def triples(index: Index) -> list[tuple[int, int, float]]:
    """Key, row and score of every posting, in order."""
    keys = np.repeat(index.keys, np.diff(index.offsets))
    return list(zip(keys.tolist(), index.items.tolist(), index.scores.tolist(), strict=True))


def contributions(index: Index, row: int) -> np.ndarray:
    """What the block says of one item."""
    block = index.block
    tile = row // block.tile_items - block.first_item // block.tile_items
    return block.offset[:, tile] + block.scale[:, tile] * block.values[:, row - block.first_item]


@pytest.mark.parametrize("num_items", [7, 8, 1000])
def test_shards_differ_by_one_item_at_most(num_items):
    sizes = [len(Shard(number, 7).items(num_items)) for number in range(7)]
    assert sum(sizes) == num_items
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("text", ["4/4", "1", "0/0", "-1/2", "a/2", "0/2/3", "0/-2", "²/3", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UserError, match=f"--shard {text}: expected NUMBER/COUNT"):
        Shard.parse(text)


def test_a_shard_is_read_as_it_is_written():
    assert Shard.parse("3/12") == Shard(3, 12)
    assert str(Shard(3, 12)) == "3/12"


def test_more_shards_than_items_are_refused():
    with pytest.raises(UserError, match="--shard 4/5: 4 items cannot be split into 5 shards"):
        Shard(4, 5).items(4)
