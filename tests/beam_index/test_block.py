import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from beam_index.block import block_tile, quantize
from beam_index.files import MAX_SHARDS
from beam_index.limits import require_block_fits
from protos.errors import UserError

BIAS = np.float32(0.25)


@given(
    scores=arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 40)),
        elements=st.floats(-4, 4, width=32) | st.just(-1.0),
    )
)
def test_decoded_values_are_within_half_a_step_and_offsets_are_the_least(scores):
    part = quantize(scores, BIAS)
    values = np.maximum(scores.astype(np.float64) + float(BIAS), 0)
    decoded = part.offset[:, None].astype(np.float64) + part.scale[:, None].astype(np.float64) * part.values
    rounding = 4 * np.finfo(np.float32).eps * values.max()
    assert (np.abs(decoded - values) <= part.scale[:, None] / 2 + rounding).all()
    np.testing.assert_allclose(part.offset, values.min(axis=1), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(part.scale, (values.max(axis=1) - values.min(axis=1)) / 255, rtol=1e-5, atol=1e-8)


def test_equal_values_are_exact_and_their_bytes_zero():
    part = quantize(np.array([[0.5, 0.5, 0.5], [-9, -8, -7]], np.float32), BIAS)
    assert part.offset.tolist() == [0.75, 0.0]
    assert part.scale.tolist() == [0.0, 0.0]
    assert not part.values.any()


def test_the_least_and_greatest_values_have_the_first_and_last_level():
    part = quantize(np.array([[-5, 0, 3.7, 1]], np.float32), BIAS)
    assert part.values[0, 0] == 0
    assert part.values[0, 2] == 255


def test_differences_too_small_for_a_step_are_dropped():
    least = np.finfo(np.float32).smallest_subnormal
    part = quantize(np.array([[0, least]], np.float32), np.float32(0))
    assert part.scale.tolist() == [0.0]
    assert part.values.tolist() == [[0, 0]]


def test_a_tile_stacks_its_codes_row_by_row():
    scores = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    tile = block_tile(512, 8192, [quantize(rows, BIAS) for rows in (scores[:3], scores[3:])])
    assert (tile.first_code, tile.first_item, tile.num_items) == (512, 8192, 7)
    values = np.maximum(scores + BIAS, 0)
    levels = np.frombuffer(tile.values, np.uint8).reshape(5, 7)
    decoded = np.array(tile.offset)[:, None] + np.array(tile.scale)[:, None] * levels
    np.testing.assert_allclose(decoded, values, atol=values.max() / 255 / 2 * 1.001)


def test_a_block_of_more_files_than_names_is_refused():
    require_block_fits(MAX_SHARDS, 1)
    with pytest.raises(UserError, match=r"block of 33,334 x 3 files is too large.*--no_block"):
        require_block_fits(33_334, 3)
