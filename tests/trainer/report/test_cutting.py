"""Cut lists answer as lists do that are written down, posting by posting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.report.cutting import CutRanker, thresholds
from trainer.report.exported import Encoded


class World:
    """A model of random numbers; scores are quarters, so that many tie, and sums are exact."""

    def __init__(self, seed: int, num_items: int) -> None:
        rng = np.random.default_rng(seed)
        self.table = np.maximum(rng.integers(-6, 9, (5, num_items)) / 4, 0)
        self.events = np.maximum(rng.integers(-9, 5, (3, num_items)) / 4, 0)
        self.keys = rng.integers(0, 5, (3, 2))

    def encode(self, histories: list[np.ndarray]) -> Encoded:
        return Encoded(self.keys[:, :, None], self.keys, np.zeros((3, 0), int), np.zeros((3, 0)))

    def contributions(self, keys: np.ndarray) -> np.ndarray:
        return self.table[keys]

    def event_scores(self, encoded: Encoded) -> np.ndarray:
        return self.events.copy()


def list_of(scores: list[float], length: int) -> dict[int, float]:
    """The list of a code by the rule of the index: the best, less the score after the last of them."""
    ranked = sorted(((score, -row) for row, score in enumerate(scores) if score > 0), reverse=True)
    cut = ranked[length][0] if len(ranked) > length else 0.0
    return {-row: score - cut for score, row in ranked[:length] if score > cut}


def slow_answers(world: World, query: int, seen: set[int], length: int, sums: str, k: int) -> list[int]:
    lists = [list_of(world.table[key].tolist(), length) for key in world.keys[query]]
    events = {row: score for row, score in enumerate(world.events[query].tolist()) if score > 0}
    totals = {}
    for row in set().union(events, *lists) - seen:
        total = events.get(row, 0.0)
        for key, postings in zip(world.keys[query], lists, strict=True):
            total += world.table[key, row] if sums == "completed" else postings.get(row, 0.0)
        totals[row] = total
    ranked = sorted(totals, key=lambda row: (-totals[row], row))[:k]
    return ranked + [-1] * (k - len(ranked))


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 34), st.sampled_from(["sparse", "completed"]))
@settings(max_examples=150)
def test_answers_are_those_of_lists_written_down(seed: int, num_items: int, length: int, sums: str) -> None:
    world = World(seed, num_items)
    rng = np.random.default_rng(seed + 1)
    seen = [rng.choice(num_items, rng.integers(0, num_items), replace=False) for _ in range(3)]
    found = CutRanker(world, length, sums)(seen, 7)
    expected = [slow_answers(world, query, set(rows.tolist()), length, sums, 7) for query, rows in enumerate(seen)]
    assert found.tolist() == expected


@pytest.mark.parametrize(("length", "expected"), [(1, 3.0), (2, 2.0), (3, 2.0), (4, 0.0), (9, 0.0)])
def test_a_threshold_is_the_best_score_that_is_cut(length: int, expected: float) -> None:
    assert thresholds(np.array([[2.0, 5.0, 0.0, 3.0, 2.0]]), length).tolist() == [expected]
