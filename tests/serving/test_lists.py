"""Look-up of posting lists by code key, and the fallback to the nearest code that has one."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.codes import CodeSpace
from serving.index import Index
from serving.lists import LAST_ROW, NO_ROW, PART, PostingLists

PRODUCT = CodeSpace(num_slots=1, num_codebooks=2, num_codewords=3)
RESIDUAL = CodeSpace(num_slots=3, num_codebooks=1, num_codewords=4)
NO_ITEM = -1


def index_of(space: CodeSpace, lists: dict[int, list[tuple[int, float]]]) -> Index:
    """An index from key -> [(item, score)]."""
    keys = sorted(lists)
    postings = [posting for key in keys for posting in lists[key]]
    return Index(
        manifest={},
        space=space,
        keys=np.array(keys, np.int64),
        offsets=np.cumsum([0] + [len(lists[key]) for key in keys], dtype=np.int64),
        items=np.array([item for item, _ in postings], np.int32),
        scores=np.array([score for _, score in postings], np.float32),
        block=None,
    )


def only_item(lists: PostingLists, row: int) -> int:
    """The item of a list that has one or none."""
    items = listed(lists, [[row]], [[1]])[0]
    assert len(items) <= 1
    return items[0][0] if items else NO_ITEM


def listed(lists: PostingLists, rows: list[list[int]], weights: list[list[float]]) -> list[list[tuple[int, float]]]:
    """(item, weighted score) of the postings of each query's lists; all else must be filling."""
    found = lists.postings(tf.constant(rows, tf.int64), tf.constant(weights, tf.float32))
    assert found.rows.shape == found.scores.shape == (found.splits[-1], PART)
    assert not found.scores.numpy()[found.rows == NO_ROW].any()
    of_queries = [
        zip(*(part[start:end].numpy().ravel().tolist() for part in found[:2]), strict=True)
        for start, end in zip(found.splits[:-1], found.splits[1:], strict=True)
    ]
    return [[(item, score) for item, score in postings if item != NO_ROW] for postings in of_queries]


def nearest_key(space: CodeSpace, listed: list[int], key: int, distances: np.ndarray) -> int | None:
    """The listed key of the same slot whose codewords are nearest in sum; the smaller one of equals."""

    def distance(other: int) -> float:
        rest = other % space.codes_per_slot
        codes = [rest // space.num_codewords**book % space.num_codewords for book in range(space.num_codebooks)]
        return sum(float(distances[book, code]) for book, code in enumerate(codes))

    same_slot = [other for other in listed if other // space.codes_per_slot == key // space.codes_per_slot]
    return min(same_slot, key=lambda other: (distance(other), other), default=None)


@pytest.mark.parametrize("space", [PRODUCT, RESIDUAL], ids=["product", "residual"])
@settings(max_examples=40)
@given(data=st.data())
def test_tokens_without_a_list_use_the_nearest_code_that_has_one(space, data):
    listed = sorted(data.draw(st.sets(st.integers(0, space.size - 1), min_size=1)))
    ready = sorted(space.size + row for row in data.draw(st.sets(st.integers(0, 5))))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    tokens = 3
    slots = np.arange(tokens) % space.num_slots
    keys = slots * space.codes_per_slot + rng.integers(0, space.codes_per_slot, (data.draw(st.integers(0, 4)), tokens))
    events = rng.choice([-1, *ready], (len(keys), data.draw(st.integers(0, 3))))
    # Whole numbers: their sums are exact, and they make ties.
    distances = rng.integers(0, 5, (*keys.shape, space.num_codebooks, space.num_codewords)).astype(np.float32)

    # Each list is told by the one item it holds.
    lists = PostingLists(index_of(space, {key: [(item, 1.0)] for item, key in enumerate([*listed, *ready])}))
    found = lists.find(tf.constant(np.hstack([keys, events])), tf.constant(distances))
    item = np.vectorize(functools.partial(only_item, lists), otypes=[int])(found.rows)

    assert found.fallback.shape == found.rows.shape == found.keys.shape == (len(keys), tokens + events.shape[1])
    assert not found.fallback.numpy()[:, tokens:].any()
    np.testing.assert_array_equal(found.keys[:, tokens:], events)
    for at in np.ndindex(events.shape):
        expected = NO_ITEM if events[at] < 0 else len(listed) + ready.index(events[at])
        assert item[:, tokens:][at] == expected
    for at in np.ndindex(keys.shape):
        assert found.fallback[at] == (keys[at] not in listed)
        expected = keys[at] if keys[at] in listed else nearest_key(space, listed, keys[at], distances[at])
        assert found.keys[at] == (keys[at] if expected is None else expected)
        assert item[at] == (NO_ITEM if expected is None else listed.index(expected))


def test_postings_are_in_the_order_of_the_lists_and_weighted():
    # The lists are rows 0, 1 and 3; the empty one stands before the ready list.
    lists = PostingLists(index_of(RESIDUAL, {2: [(7, 0.5), (3, 0.25)], 5: [(7, 1.5)], 12: [(LAST_ROW, 1.0)]}))
    assert lists.empty_row == 2
    found = listed(lists, [[0, 1], [2, 1], [2, 2], [3, 2]], [[1, 0.1], [1, 0.1], [1, 1], [0, 1]])
    of_second = (7, float(np.float32(0.1) * np.float32(1.5)))
    assert found == [[(7, 0.5), (3, 0.25), of_second], [of_second], [], [(LAST_ROW, 0.0)]]


@pytest.mark.parametrize("length", [1, PART - 1, PART, PART + 1, 3 * PART])
def test_lists_of_any_length_are_cut_into_parts(length):
    long = [(item, float(1 + item)) for item in range(length)]
    lists = PostingLists(index_of(RESIDUAL, {1: [(5, 1.0)], 2: long, 3: [(6, 2.0)], 12: long[::-1]}))
    assert listed(lists, [[0, 1], [4, 2]], [[1, 2], [1, 1]]) == [
        [(5, 1.0), *((item, 2 * score) for item, score in long)],
        [*long[::-1], (6, 2.0)],
    ]


def test_keys_of_a_large_code_space_are_found():
    space = CodeSpace(num_slots=4, num_codebooks=4, num_codewords=2048)
    keys = np.sort(np.random.default_rng(0).choice(space.size, 1000))
    lists = PostingLists(index_of(space, {int(key): [(0, 1.0)] for key in keys}))
    found = lists.find(tf.constant(keys.reshape(250, 4)), tf.zeros([250, 4, 4, 2048]))
    assert found.rows.numpy().ravel().tolist() == list(range(1000))
    assert not found.fallback.numpy().any()
