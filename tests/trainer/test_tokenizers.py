import numpy as np
import pytest
import tensorflow as tf

from trainer.config import TokenizerConfig
from trainer.layers.tokenizers import SelfAttentionTokenizer, StatelessDropout, with_start

CONFIG = TokenizerConfig(dim=8, num_blocks=2, num_heads=2, dropout=0.5)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([-1, -1, 3, 4], [-1, 9, 3, 4]),
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([-1, -1, -1, -1], [-1, -1, -1, 9]),
        ([-1, 0, 1, 2], [9, 0, 1, 2]),
    ],
)
def test_start_marker(rows, expected):
    assert with_start(tf.constant([rows]), 9).numpy().tolist() == [expected]


def encode(layer, events, present, step=None):
    return layer(tf.constant(events), tf.constant(present), step).numpy()


def test_a_state_depends_on_present_events_up_to_it_only():
    rng = np.random.default_rng(0)
    layer = SelfAttentionTokenizer(CONFIG, 5)
    events = rng.normal(size=(1, 5, 8)).astype(np.float32)
    present = np.array([[False, True, True, True, True]])
    states = encode(layer, events, present)
    later, padded = events.copy(), events.copy()
    later[0, 4, 0] += 1.0
    padded[0, 0, 0] += 1.0
    np.testing.assert_allclose(encode(layer, later, present)[0, 1:4], states[0, 1:4], atol=1e-6)
    np.testing.assert_allclose(encode(layer, padded, present)[0, 1:], states[0, 1:], atol=1e-6)
    assert not np.allclose(encode(layer, later, present)[0, 4], states[0, 4])


def test_a_shorter_window_gives_the_same_last_state():
    rng = np.random.default_rng(0)
    layer = SelfAttentionTokenizer(CONFIG, 5)
    events = rng.normal(size=(1, 5, 8)).astype(np.float32)
    present = np.array([[False, False, True, True, True]])
    np.testing.assert_allclose(
        encode(layer, events[:, 2:], present[:, 2:])[0, -1], encode(layer, events, present)[0, -1], atol=1e-5
    )


def test_dropout_is_a_function_of_seed_and_step():
    ones = tf.ones([4, 100])
    layer, other = StatelessDropout(0.5, seed=1), StatelessDropout(0.5, seed=2)
    first = layer(ones, tf.constant(3)).numpy()
    np.testing.assert_array_equal(first, layer(ones, tf.constant(3)))
    assert (first != layer(ones, tf.constant(4)).numpy()).any()
    assert (first != other(ones, tf.constant(3)).numpy()).any()
    np.testing.assert_array_equal(layer(ones), ones)
