import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.codes import CodeSpace

SPACES = st.builds(CodeSpace, st.integers(1, 5), st.integers(1, 3), st.integers(1, 6))


@given(SPACES, st.data())
def test_keys_and_codes_are_one_to_one(space, data):
    keys = np.array(data.draw(st.lists(st.integers(0, space.size - 1), max_size=5)), np.int64)
    slots, codes = space.decode(keys)
    assert codes.shape == (len(keys), space.num_codebooks)
    assert (slots < space.num_slots).all()
    assert (codes < space.num_codewords).all()
    np.testing.assert_array_equal(space.key(slots, codes), keys)


@given(SPACES)
def test_every_code_of_every_slot_has_its_own_key(space):
    slots, codes = space.decode(np.arange(space.size))
    assert len({(slot, *code) for slot, code in zip(slots.tolist(), codes.tolist(), strict=True)}) == space.size


def test_the_formula():
    # slot * N^M + c_0 * N^0 + c_1 * N^1
    assert CodeSpace(3, 2, 10).key(np.array([2]), np.array([[7, 4]])).tolist() == [2 * 100 + 7 + 40]


def test_a_space_that_no_key_can_name_is_refused():
    with pytest.raises(ValueError, match=r"1 slots x 4096\^6 codes do not fit an int64 key"):
        CodeSpace(1, 6, 4096)
