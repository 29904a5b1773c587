import collections

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.windows import WindowBatches, pad_histories, training_windows


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


def ragged_windows(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    histories = [rng.integers(0, 50, rng.integers(1, 21)).astype(np.int32) for _ in range(count)]
    return pad_histories(histories, 20)


def test_order_can_be_resumed_anywhere():
    batches = WindowBatches(ragged_windows(40), batch_events=60, seed=5)
    whole = [batch.numpy() for batch in batches.dataset(0).take(3 * batches.steps)]
    for start in (0, 3, batches.steps, 2 * batches.steps + 1):
        resumed = [batch.numpy() for batch in batches.dataset(start).take(3 * batches.steps - start)]
        for left, right in zip(whole[start:], resumed, strict=True):
            np.testing.assert_array_equal(left, right)
    first, second = whole[: batches.steps], whole[batches.steps : 2 * batches.steps]
    assert any(left.shape != right.shape or (left != right).any() for left, right in zip(first, second, strict=True))


@given(count=st.integers(1, 60), batch_events=st.integers(1, 200), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_an_epoch_has_every_window_once_and_cuts_padding_only(count, batch_events, seed):
    windows = ragged_windows(count, seed)
    batches = WindowBatches(windows, batch_events, seed)
    found = list(batches.epoch(3))
    assert len(found) == batches.steps
    rows = [row for batch in found for row in pad_histories(list(batch), 20).tolist()]
    assert sorted(rows) == sorted(windows.tolist())
    assert all(batch.size <= max(batch_events, batch.shape[1]) for batch in found)
    # A third of a batch's places at most is padding (short windows, where one place counts more, left out).
    long = [batch for batch in found if batch.shape[1] > 6]
    assert all((batch != -1).sum(axis=1).min() > 0.7 * batch.shape[1] - 1 for batch in long)
