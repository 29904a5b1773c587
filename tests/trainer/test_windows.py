import collections

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.windows import pad_histories, steps_per_epoch, training_dataset, training_windows


@given(lengths=st.lists(st.integers(0, 23), max_size=6), max_history=st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_every_event_is_predicted_exactly_once_from_those_before_it(lengths, max_history):
    sequences = [np.arange(length, dtype=np.int32) + 100 * user for user, length in enumerate(lengths)]
    windows = training_windows(sequences, max_history)
    assert windows.shape[1] == max_history + 1
    predicted = collections.Counter()
    for window in windows:
        events = window[window >= 0].tolist()
        assert window[len(window) - len(events) :].tolist() == events
        assert events == list(range(events[0], events[0] + len(events)))
        predicted.update(events[1:])
        if window[0] == -1:
            predicted.update(events[:1])
            assert events[0] % 100 == 0
    assert predicted == collections.Counter(int(event) for sequence in sequences for event in sequence)


def test_histories_keep_their_last_events():
    padded = pad_histories([np.array([1, 2, 3]), np.array([], np.int32), np.array([7])], 2)
    assert padded.tolist() == [[2, 3], [-1, -1], [-1, 7]]


def test_order_can_be_resumed_anywhere():
    windows = np.arange(7 * 3, dtype=np.int32).reshape(7, 3)
    steps = steps_per_epoch(windows, 2)
    assert steps == 4
    whole = [batch.numpy() for batch in training_dataset(windows, 2, 5, 0).take(3 * steps)]
    for start in (0, 3, 4, 9):
        resumed = [batch.numpy() for batch in training_dataset(windows, 2, 5, start).take(3 * steps - start)]
        for left, right in zip(whole[start:], resumed, strict=True):
            np.testing.assert_array_equal(left, right)
    first, second = np.concatenate(whole[:steps]), np.concatenate(whole[steps : 2 * steps])
    assert sorted(first.tolist()) == sorted(second.tolist()) == windows.tolist()
    assert first.tolist() != second.tolist()
