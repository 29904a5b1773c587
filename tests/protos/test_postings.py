import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protos.errors import UserError
from protos.index_pb2 import PostingList
from protos.postings import Postings, decode, encode


def descending(scores: np.ndarray) -> Postings:
    """A list of these scores, whose rows descend where they tie less than the encoding does."""
    order = np.argsort(-scores, kind="stable")
    return Postings(7, -0.5, np.arange(len(scores), dtype=np.int32), scores[order])


SCORES = arrays(np.float32, st.integers(0, 30), elements=st.floats(2.0**-20, 2.0**20, width=32))


@given(scores=SCORES)
def test_whole_scores_come_back_as_they_were(scores):
    given_list = descending(scores)
    found = decode(PostingList.FromString(encode(given_list, 32).SerializeToString()), "here")
    assert found[:2] == given_list[:2]
    np.testing.assert_array_equal(found.items, given_list.items)
    np.testing.assert_array_equal(found.scores, given_list.scores)


@pytest.mark.parametrize("bits", [8, 16])
@given(scores=SCORES)
def test_compact_scores_are_the_nearest_level_above_0_and_the_order_is_that_of_the_stored_scores(bits, scores):
    given_list = descending(scores)
    message = PostingList.FromString(encode(given_list, bits).SerializeToString())
    assert len(message.levels) == len(scores) * bits // 8
    assert len(message.rows) == len(scores) * 3
    assert not message.scores
    found = decode(message, "here")
    assert sorted(found.items.tolist()) == given_list.items.tolist()
    best = scores.max(initial=0)
    step = best / (2**bits - 1)
    before = dict(zip(given_list.items.tolist(), given_list.scores.tolist(), strict=True))
    for item, score in zip(found.items.tolist(), found.scores.tolist(), strict=True):
        assert score > 0
        assert abs(score - before[item]) <= (step if before[item] < step else step / 2) + 2e-6 * best
    stored = list(zip((-found.scores).tolist(), found.items.tolist(), strict=True))
    assert stored == sorted(stored)


def test_the_least_scores_there_are_do_not_vanish():
    tiny = np.array([2e-45, 1e-45], np.float32)
    found = decode(encode(Postings(0, 0.0, np.array([4, 2], np.int32), tiny), 8), "here")
    assert found.items.tolist() == [2, 4]
    assert (found.scores > 0).all()


def test_rows_past_three_bytes():
    rows = np.array([2**31 - 1, 0, 2**24], np.int32)
    found = decode(encode(Postings(0, 0.0, rows, np.array([3, 2, 1], np.float32)), 16), "here")
    assert found.items.tolist() == rows.tolist()


def compact(**fields) -> PostingList:
    sound = {"scale": 1.0, "levels": b"12", "level_bytes": 1, "rows": b"123456", "row_bytes": 3}
    return PostingList(key=3, **(sound | fields))


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (PostingList(key=3, items=[1, 2], scores=[1.0]), "list 3 has 2 items and 1 scores"),
        (PostingList(key=3, items=[1], scores=[0.0]), "expected one finite score above 0"),
        (compact(levels=b"123"), "list 3 has 2 items and 3 scores"),
        (compact(level_bytes=2), "list 3 has 2 items and 1 scores"),
        (compact(level_bytes=3), "list 3 has 1 items and 0 scores"),
        (compact(rows=b"1234567"), "list 3 has 1 items and 0 scores"),
        (compact(scale=0.0), "expected one finite score above 0"),
        (compact(levels=b"\0\1"), "expected one finite score above 0"),
    ],
)
def test_lists_that_contradict_themselves_are_refused(message, what):
    with pytest.raises(UserError, match=what):
        decode(message, "here")
