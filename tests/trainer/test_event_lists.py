"""Event tokens against loops over events and postings."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.layers.event_lists import EventLists, length_class
from trainer.memory import ItemLists

LISTS = ItemLists(
    np.array([[1, 3], [-1, -1], [4, -1], [0, 2], [2, 0]], np.int32),
    np.array([[0.75, 0.5], [0, 0], [2.0, 0], [1.5, 0.25], [1.0, 0.125]], np.float32),
)
AGES = np.array([0.25, 0.5, 1.0])
WINDOWS = {
    "full": [0, 2, 3, 4],
    "short": [-1, -1, -1, 2],
    "empty": [-1, -1, -1, -1],
    "an item without a list": [-1, 0, 1, 4],
    "an item twice": [3, 0, 3, 0],
    "the first row": [-1, -1, 0, 0],
}


def expected_tokens(window: list[int], ages: list[float]) -> list[tuple[int, float]]:
    """(row, weight) of the last H events, (-1, 0) where there is no event or no list."""
    events = [-1] * len(ages) + window
    last = events[len(events) - len(ages) :]
    return [
        (row, age) if row >= 0 and LISTS.scores[row].any() else (-1, 0.0) for row, age in zip(last, ages, strict=True)
    ]


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("num_events", [0, 1, 3, 6])
def test_tokens_and_scores_equal_loops(name, num_events):
    ages = np.concatenate([AGES[:1].repeat(3), AGES])[6 - num_events :]
    layer = EventLists(LISTS, ages)
    window = tf.constant([WINDOWS[name]], tf.int32)
    rows, weights = layer.tokens(window)
    assert (rows.dtype, weights.dtype) == (tf.int32, tf.float32)
    expected = expected_tokens(WINDOWS[name], ages.tolist())
    assert list(zip(rows[0].numpy().tolist(), weights[0].numpy().tolist(), strict=True)) == expected
    scores = np.zeros(5)
    for row, weight in expected:
        for item, score in zip(LISTS.items[row].tolist(), LISTS.scores[row].tolist(), strict=True):
            if row >= 0 and item >= 0:
                scores[item] += weight * score
    np.testing.assert_allclose(layer.catalogue_scores(window), scores[None], rtol=1e-6)


def test_events_count_by_the_length_of_their_history():
    factors = [0.0, 2.0, 8.0]
    layer, plain = EventLists(LISTS, AGES, factors), EventLists(LISTS, AGES)
    lengths = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 7: 2, 8: 2, 50: 2}
    for length, expected in lengths.items():
        window = tf.constant([[-1] * (60 - length) + [0] * length], tf.int32)
        assert length_class([length], len(factors)).numpy().tolist() == [expected]
        np.testing.assert_allclose(layer.tokens(window)[1], factors[expected] * plain.tokens(window)[1], rtol=1e-6)


def test_windows_of_a_batch_do_not_touch_each_other():
    layer = EventLists(LISTS, AGES)
    windows = tf.constant(list(WINDOWS.values()), tf.int32)
    together = layer.catalogue_scores(windows)
    for place in range(len(WINDOWS)):
        np.testing.assert_array_equal(together[place : place + 1], layer.catalogue_scores(windows[place : place + 1]))
    assert layer.catalogue_scores(windows[:0]).shape == (0, 5)


def test_lists_that_are_all_empty_add_nothing():
    nothing = ItemLists(np.full((5, 2), -1, np.int32), np.zeros((5, 2), np.float32))
    layer = EventLists(nothing, AGES)
    windows = tf.constant([WINDOWS["full"]], tf.int32)
    assert layer.tokens(windows)[0].numpy().tolist() == [[-1, -1, -1]]
    assert not layer.catalogue_scores(windows).numpy().any()
    assert not layer.trainable_variables
