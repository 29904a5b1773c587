"""Invariant I2: the merge is exact. Its top k equals brute force over the same lists, ties included."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.codes import CodeSpace
from serving.index import Block, Index
from serving.lists import PostingLists
from serving.ranking import Ranking
from serving.sums import CompletedSums, SparseSums

# Few values make many ties; the last two are the smallest normal float32 and a very large one.
TIED_SCORES = [0.25, 0.5, 0.75, 1.0, 2.0**-126, 1e37]


@st.composite
def indexes(draw: st.DrawFn) -> Index:
    """Up to 5 lists, some empty, over up to 30 items, with a block in tiles of 7."""
    num_items, num_lists = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    scores = st.one_of(st.sampled_from(TIED_SCORES), st.floats(0.125, 2.0, width=32))
    rows = st.integers(0, num_items - 1)
    lists = [draw(st.dictionaries(rows, scores, max_size=12)) for _ in range(num_lists)]
    sorted_lists = [sorted(entries.items(), key=lambda entry: (-entry[1], entry[0])) for entries in lists]
    return Index(
        manifest={},
        keys=np.arange(num_lists, dtype=np.int64),
        offsets=np.cumsum([0, *map(len, lists)], dtype=np.int64),
        items=np.array([row for entries in sorted_lists for row, _ in entries], np.int32),
        scores=np.array([score for entries in sorted_lists for _, score in entries], np.float32),
        block=draw(blocks(num_lists, num_items)),
    )


def with_zeros(matrix: np.ndarray) -> np.ndarray:
    """The row of no list, after those of the lists."""
    return np.concatenate([matrix, np.zeros_like(matrix[:1])])


@st.composite
def blocks(draw: st.DrawFn, num_lists: int, num_items: int) -> Block:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = draw(st.sampled_from([1, 3, 256]))
    tiles = (num_lists, -(-num_items // 7))
    return Block(
        values=with_zeros(rng.integers(0, levels, (num_lists, num_items)).astype(np.uint8)),
        offset=with_zeros(rng.choice(np.float32([0, 0.1, 0.3]), tiles)),
        scale=with_zeros(rng.choice(np.float32([0, 0.01, 0.003]), tiles)),
        tile_items=7,
    )


@st.composite
def queries(draw: st.DrawFn, index: Index) -> tuple[np.ndarray, np.ndarray]:
    """Lists `[B, K]` of the tokens (duplicates, and the list of nothing), and rows `[B, E]` to exclude."""
    batch, tokens, width = draw(st.integers(0, 4)), draw(st.integers(1, 5)), draw(st.integers(0, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    num_items = index.block.values.shape[1]
    return (
        rng.integers(0, len(index.keys) + 1, (batch, tokens)),
        rng.integers(-1, num_items, (batch, width)),
    )


def postings(index: Index, row: int) -> dict[int, np.float32]:
    """One list as a dictionary; that of nothing is empty."""
    if row == len(index.keys):
        return {}
    start, end = index.offsets[row], index.offsets[row + 1]
    return dict(zip(index.items[start:end].tolist(), index.scores[start:end], strict=True))


def sparse_score(index: Index, rows: list[int], item: int) -> np.float32:
    """The item's postings, added from the largest down."""
    found = [postings(index, row).get(item, np.float32(0)) for row in rows]
    total = np.float32(0)
    for score in sorted(found, reverse=True):
        total = np.float32(total + score)
    return total


def completed_score(index: Index, rows: list[int], item: int) -> np.float32:
    """The item's contributions in the block, added in token order."""
    block, total = index.block, np.float32(0)
    for row in rows:
        if row < len(index.keys):
            tile = item // block.tile_items
            value = block.scale[row, tile] * np.float32(block.values[row, item])
            total = np.float32(total + np.float32(block.offset[row, tile] + value))
    return total


SCORE = {"sparse": sparse_score, "completed": completed_score}


def brute_force(sums: str, index: Index, rows: list[int], excluded: list[int], k: int) -> list[tuple[int, float]]:
    """The k best (item, score): every candidate scored, sorted, cut."""
    candidates = {item for row in rows for item in postings(index, row)} - set(excluded)
    scored = [(item, SCORE[sums](index, rows, item)) for item in candidates]
    scored = [(item, float(score)) for item, score in scored if score > 0]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]


def ranking(sums: str, index: Index) -> Ranking:
    made = SparseSums() if sums == "sparse" else CompletedSums(index.block)
    return Ranking(PostingLists(index, CodeSpace(1, 1, 5)), made)


@pytest.mark.parametrize("sums", SCORE)
@settings(max_examples=60)
@given(data=st.data())
def test_best_equals_brute_force(sums, data):
    index = data.draw(indexes())
    list_rows, excluded = data.draw(queries(index))
    k = data.draw(st.integers(1, 40))
    rows, scores = ranking(sums, index).best(tf.constant(list_rows), tf.constant(excluded), k)
    assert rows.shape == scores.shape == (len(list_rows), k)
    for query in range(len(list_rows)):
        found = [(int(row), float(score)) for row, score in zip(rows[query], scores[query], strict=True) if score > 0]
        assert found == brute_force(sums, index, list_rows[query].tolist(), excluded[query].tolist(), k)
        assert not scores[query, len(found) :].numpy().any()


def test_graph_gives_what_eager_gives():
    """The optimised graph of a large batch keeps the order of the float additions."""
    rng = np.random.default_rng(0)
    num_items, num_lists, length = 2000, 16, 300
    items = np.concatenate([rng.choice(num_items, length, replace=False) for _ in range(num_lists)])
    scale = with_zeros(rng.random((num_lists, 1)).astype(np.float32))
    values = with_zeros(rng.integers(0, 256, (num_lists, num_items)).astype(np.uint8))
    index = Index(
        manifest={},
        keys=np.arange(num_lists),
        offsets=np.arange(num_lists + 1) * length,
        items=items.astype(np.int32),
        scores=rng.random(num_lists * length).astype(np.float32),
        block=Block(values, scale * 0.1, scale, 4096),
    )
    list_rows = rng.integers(0, num_lists + 1, (8, 4))
    excluded = rng.integers(-1, num_items, (8, 50))
    for sums in SCORE:
        best = tf.function(ranking(sums, index).best, reduce_retracing=True)
        rows, scores = best(tf.constant(list_rows), tf.constant(excluded), 100)
        for query in range(8):
            found = list(zip(rows[query].numpy().tolist(), scores[query].numpy().tolist(), strict=True))
            assert found == brute_force(sums, index, list_rows[query].tolist(), excluded[query].tolist(), 100)
