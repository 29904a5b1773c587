import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_index.search_engine.by_item import by_item
from protos.errors import UserError
from protos.index_pb2 import PostingList

NUM_ITEMS = 12
ROWS = st.lists(st.integers(0, NUM_ITEMS - 1), unique=True)


@st.composite
def posting_lists(draw) -> list[PostingList]:
    """Lists at ascending keys with gaps, some empty, their scores multiples of a step of their own."""
    lists = []
    for key in sorted(draw(st.sets(st.integers(0, 2**62), max_size=8))):
        rows = draw(ROWS)
        levels = draw(st.lists(st.integers(1, 255), min_size=len(rows), max_size=len(rows)))
        step = draw(st.sampled_from([0.25, 1.0, 3.0]))
        lists.append(PostingList(key=key, items=rows, scores=[step * level for level in levels]))
    return lists


@given(lists=posting_lists())
def test_every_posting_is_found_at_its_item_by_ascending_key(lists):
    found = by_item(lists, NUM_ITEMS)
    assert found.keys.tolist() == [each.key for each in lists]
    assert len(found.offsets) == NUM_ITEMS + 1
    assert (found.offsets[0], found.offsets[-1]) == (0, sum(len(each.items) for each in lists))
    for row in range(NUM_ITEMS):
        here = slice(*found.offsets[row : row + 2])
        of_lists, levels = found.lists[here], found.levels[here]
        decoded = found.scales[of_lists].astype(float) * levels
        expected = {
            each.key: (dict(zip(each.items, each.scores, strict=True))[row], max(each.scores))
            for each in lists
            if row in each.items
        }
        assert found.keys[of_lists].tolist() == list(expected)
        for value, (score, best) in zip(decoded, expected.values(), strict=True):
            # Off by half of a step of the list, or by a whole one where it would vanish.
            assert abs(value - score) <= best / 255 * (0.5001 if score >= best / 510 else 1)


def test_arrays_are_small():
    found = by_item([PostingList(key=5, items=[3, 1], scores=[2.0, 1.0])], 4)
    assert [each.dtype for each in found] == [np.int64, np.float32, np.int64, np.int32, np.uint8]
    assert found.offsets.tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("row", [4, -1])
def test_a_row_that_is_not_of_the_catalogue_is_named(row):
    message = f"list 5 of the index has row {row}; rows of the catalogue are 0 to 3; build the index again"
    with pytest.raises(UserError, match=re.escape(message)):
        by_item([PostingList(key=5, items=[3, row], scores=[2.0, 1.0])], 4)
