"""The item memory against regressions in plain loops."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from trainer.config import MemoryConfig
from trainer.memory import _best, fit_lists, no_lists
from trainer.windows import training_windows

CONFIGS = [
    MemoryConfig(num_events=3, half_life=1.5, horizon=2, horizon_decay=0.6, l2=2.0, list_length=4),
    MemoryConfig(num_events=1, horizon=1, l2=0.5, list_length=2),
    MemoryConfig(num_events=20, horizon=20, horizon_decay=1.0, l2=3.0, list_length=50),  # both beyond the windows
    MemoryConfig(num_events=4, l2=1.0, list_length=3, max_items=7),
]


def random_windows(num_items: int, count: int = 40, max_history: int = 5, seed: int = 0) -> np.ndarray:
    """Windows of sequences of 1 to 12 events, some items more often than others, some twice in one."""
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.ones(num_items))
    sequences = [rng.choice(num_items, rng.integers(1, 13), p=share).astype(np.int32) for _ in range(count)]
    return training_windows(sequences, max_history)


def frequent(windows: np.ndarray, num_items: int, limit: int) -> list[int]:
    counts = collections.Counter(item for window in windows.tolist() for item in window if item >= 0)
    return sorted(sorted(range(num_items), key=lambda item: (-counts[item], item))[:limit])


def regression(windows: np.ndarray, items: list[int], config: MemoryConfig) -> np.ndarray:
    """W by least squares with l2 as extra rows; the intercept is a column without penalty."""
    past, future = [], []
    for window in windows.tolist():
        for t in range(len(window) - 1):
            if window[t + 1] not in items:
                continue
            x, y = np.zeros(len(items)), np.zeros(len(items))
            for age in range(config.num_events):
                if t - age >= 0 and window[t - age] in items:
                    x[items.index(window[t - age])] += 2.0 ** (-age / config.half_life)
            for ahead in range(1, config.horizon + 1):
                if t + ahead < len(window) and window[t + ahead] in items:
                    y[items.index(window[t + ahead])] += config.horizon_decay ** (ahead - 1)
            past.append(np.append(x, 1.0))
            future.append(y)
    size = len(items)
    penalty = np.hstack([np.sqrt(config.l2) * np.eye(size), np.zeros((size, 1))])
    system, wanted = np.vstack([*past, penalty]), np.vstack([*future, np.zeros((size, size))])
    return np.linalg.lstsq(system, wanted, rcond=None)[0][:-1]


def expected_lists(weights: np.ndarray, items: list[int], list_length: int) -> dict[int, list[tuple[int, float]]]:
    """Item -> [(item, score)]: the best, less the score of the next best."""
    lists = {}
    for item, row in zip(items, weights.tolist(), strict=True):
        # Least squares leaves a rounding error where the weight is 0.
        ranked = sorted((-w, other) for other, w in zip(items, row, strict=True) if other != item and w > 1e-9)
        threshold = -ranked[list_length][0] if len(ranked) > list_length else 0.0
        lists[item] = [(other, -score - threshold) for score, other in ranked[:list_length]]
    return lists


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("num_items", [12, 3, 2])
def test_lists_are_the_best_of_a_ridge_regression(config, num_items):
    windows = random_windows(num_items)
    items = frequent(windows, num_items, config.max_items)
    expected = expected_lists(regression(windows, items, config), items, config.list_length)
    lists = fit_lists([windows], num_items, config)
    assert lists.items.shape == lists.scores.shape == (num_items, min(config.list_length, len(items)))
    assert (lists.items.dtype, lists.scores.dtype) == (np.int32, np.float32)
    for item in range(num_items):
        wanted = expected.get(item, [])
        length = int((lists.scores[item] > 0).sum())
        assert lists.items[item, :length].tolist() == [other for other, _ in wanted]
        np.testing.assert_allclose(lists.scores[item, :length], [score for _, score in wanted], rtol=1e-3, atol=1e-5)
        assert (lists.items[item, length:] == -1).all()
        assert (lists.scores[item, length:] == 0).all()
    assert num_items == 2 or any(expected.values())


def test_equal_scores_go_to_the_smaller_row_and_what_ties_with_the_threshold_is_out():
    """After item 4 each of 0 to 3 once: four equal weights, to the last bit."""
    windows = np.array([[4, other] for other in (2, 0, 3, 1)], np.int32)
    four = fit_lists([windows], 5, MemoryConfig(num_events=1, horizon=1, l2=1.0, list_length=4))
    assert four.items[4].tolist() == [-1] * 4  # 4 is in every past: the intercept takes all
    windows = np.array([[4, 2], [4, 0], [4, 3], [4, 1], *[[5, 5]] * 4], np.int32)
    config = MemoryConfig(num_events=1, horizon=1, l2=1.0, list_length=4)
    four = fit_lists([windows], 6, config)
    assert four.items[4].tolist() == [0, 1, 2, 3]
    assert len(set(four.scores[4].tolist())) == 1
    assert (fit_lists([windows], 6, MemoryConfig(1, horizon=1, l2=1.0, list_length=3)).items[4] == -1).all()


@pytest.mark.parametrize("windows", [np.zeros((0, 4), np.int32), np.full((2, 4), -1, np.int32)])
def test_of_nothing_every_list_is_empty(windows):
    lists = fit_lists([windows], 6, CONFIGS[0])
    assert lists.items.shape == (6, 4)
    assert (lists.items == -1).all()
    assert not lists.scores.any()


def test_one_item_is_followed_by_no_other():
    lists = fit_lists([np.array([[-1, 0, 0, 0]], np.int32)], 1, CONFIGS[0])
    assert lists.items.tolist() == [[-1]]
    assert lists.scores.tolist() == [[0.0]]
    assert no_lists().items.shape == no_lists().scores.shape == (0, 0)


def test_more_rows_than_are_sorted_at_once(monkeypatch):
    windows, config = random_windows(12), CONFIGS[0]
    whole = fit_lists([windows], 12, config)
    monkeypatch.setattr("trainer.memory._ROWS_AT_ONCE", 5)
    for left, right in zip(whole, fit_lists([windows], 12, config), strict=True):
        np.testing.assert_array_equal(left, right)


def test_scores_that_tie_once_the_threshold_is_off_stand_by_ascending_row():
    step = np.float32(2.0**-23)
    # Both differences lie half-way between floats, and both round to 1.25.
    row = np.array([0, 1.5, np.float32(1.5) + step, 0.25 + 2.0**-24], np.float32)
    assert row[2] > row[1]
    lists = _best(np.tile(row, (4, 1)), np.arange(4), num_items=4, list_length=2)
    assert lists.scores[0].tolist() == [1.25, 1.25]
    assert lists.items[0].tolist() == [1, 2]


def test_lists_of_pieces_are_those_of_the_whole():
    windows, config = random_windows(12, count=60), CONFIGS[0]
    whole, pieces = fit_lists([windows], 12, config), fit_lists([windows[:7], windows[7:7], windows[7:]], 12, config)
    np.testing.assert_array_equal(whole.items, pieces.items)
    np.testing.assert_allclose(whole.scores, pieces.scores, rtol=1e-4, atol=1e-6)
