import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from beam_index.search_engine.levels import quantize

TINY = float(np.finfo(np.float32).tiny)
POSITIVE = st.floats(0, 2.0**100, exclude_min=True, width=32)
SCORES = arrays(np.float32, st.integers(1, 20), elements=POSITIVE)


@given(scores=SCORES)
@example(scores=np.array([1e-45], np.float32))
@example(scores=np.array([3e38, 1e-45], np.float32))
def test_a_level_is_a_step_off_at_most_half_unless_it_would_vanish(scores):
    levels, scale = quantize(scores)
    assert levels.dtype == np.uint8
    assert scale.dtype == np.float32
    for score, level in zip(scores.tolist(), levels.tolist(), strict=True):
        assert 1 <= level <= 255
        error = abs(level * float(scale) - score)
        # The scale itself is rounded: 255 times one part in 2^24 of a step.
        assert error <= 0.50002 * float(scale) or (level == 1 and score < scale and error <= scale)


@given(scores=SCORES)
def test_the_best_has_the_highest_level_and_levels_fall_as_scores_do(scores):
    levels, _ = quantize(np.sort(scores)[::-1])
    assert levels[0] == 255 or scores.max() < 256 * TINY
    assert (np.diff(levels.astype(int)) <= 0).all()


@given(
    levels=arrays(np.uint8, st.integers(1, 20), elements=st.integers(1, 255)),
    scale=st.floats(TINY, 2.0**100, width=32),
)
def test_scores_in_such_steps_keep_their_levels(levels, scale):
    levels[0] = 255
    found, scale_found = quantize(levels.astype(np.float32) * np.float32(scale))
    np.testing.assert_array_equal(found, levels)
    np.testing.assert_allclose(scale_found, scale, rtol=2e-7)


def test_an_empty_list_has_no_levels_and_no_scale():
    levels, scale = quantize(np.empty(0, np.float32))
    assert (len(levels), scale) == (0, 0.0)
