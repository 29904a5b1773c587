import itertools
import random

import apache_beam as beam
import numpy as np
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from beam_index.postings import (
    NO_RANK,
    BestRanks,
    Merged,
    RunningBest,
    from_ranks,
    posting_list,
    rows_of,
    to_ranks,
)
from tests.beam_index.oracle import List, expected_list

LOWEST = np.float32(-np.inf)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
# Few values, so that there are ties.
TIED = st.sampled_from([np.float32(v) for v in (-2.0, -0.5, -0.0, 0.0, 0.25, 1.0, 1.0000001, 3.0)])


@given(scores=arrays(np.float32, (2, 9), elements=FINITE), first_row=st.integers(0, 2**31 - 10))
def test_ranks_order_by_descending_score_then_row_and_decode_exactly(scores, first_row):
    ranks = to_ranks(scores, np.arange(first_row, first_row + 9))
    for code in range(2):
        order = sorted(range(9), key=lambda column: (-scores[code, column], column))
        assert np.argsort(ranks[code]).tolist() == order
    decoded, rows = from_ranks(ranks)
    np.testing.assert_array_equal(decoded, scores)
    np.testing.assert_array_equal(rows, np.tile(np.arange(first_row, first_row + 9), (2, 1)))


def test_scores_up_to_the_floor_have_no_rank():
    floor = np.float32(-0.5)
    best = RunningBest(1, 4, floor)
    best.add(np.array([[-0.5, np.nextafter(floor, np.float32(0)), -0.6, 0.0]], np.float32), 0)
    assert rows_of(best.ranks()).tolist() == [[3, 1]]


@given(
    table=arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 60)), elements=TIED),
    width=st.integers(1, 20),
    count=st.integers(1, 25),
    floor=st.sampled_from([-9.0, -0.5, 0.0, 9.0]),
)
def test_the_running_best_are_those_of_all_scores_at_once(table, width, count, floor):
    best = RunningBest(len(table), count, np.float32(floor))
    for first in range(0, table.shape[1], width):
        best.add(table[:, first : first + width], first)
    for scores, ranks in zip(table, best.ranks(), strict=True):
        order = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
        expected = [row for row in order[:count] if scores[row] > np.float32(floor)]
        assert rows_of(ranks[ranks != NO_RANK]).tolist() == expected


def cut(table: np.ndarray, edges: list[int], floor: np.float32) -> list[np.ndarray]:
    """Ranks of a table's parts between edges."""
    bounds = [0, *sorted(edges), table.shape[1]]
    parts = []
    for start, stop in itertools.pairwise(bounds):
        if stop > start:
            ranks = to_ranks(table[:, start:stop], np.arange(start, stop))
            parts.append(np.where(table[:, start:stop] > floor, ranks, NO_RANK))
    return parts


def merge_at_random(combine: BestRanks, parts: list[np.ndarray], rng: random.Random) -> Merged:
    """Adds inputs to accumulators and merges these in a random order and grouping."""
    rng.shuffle(parts)
    accumulators = []
    for part in parts:
        if accumulators and rng.random() < 0.5:
            place = rng.randrange(len(accumulators))
            accumulators[place] = combine.add_input(accumulators[place], part)
        else:
            accumulators.append(combine.add_input(combine.create_accumulator(), part))
    while len(accumulators) > 1:
        rng.shuffle(accumulators)
        taken = rng.randint(2, len(accumulators))
        accumulators = [combine.merge_accumulators(accumulators[:taken]), *accumulators[taken:]]
    return combine.extract_output(accumulators[0])


@given(
    table=arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 30)), elements=TIED),
    edges=st.lists(st.integers(0, 30), max_size=5),
    limit=st.integers(1, 35),
    bias=st.sampled_from([-1.0, 0.0, 0.5, 5.0]),
    least=st.sampled_from([-9.0, 0.25, 1.0, 9.0]),
    rng=st.randoms(use_true_random=False),
)
@example(table=np.zeros((1, 3), np.float32), edges=[1], limit=1, bias=5.0, least=-9.0, rng=random.Random(0))
def test_lists_merged_from_any_cut_in_any_order_are_those_of_all_scores(table, edges, limit, bias, least, rng):
    floor = np.float32(-bias)
    edges = [edge for edge in edges if edge < table.shape[1]]
    parts = cut(table, edges, floor)
    spans, ranks = merge_at_random(BestRanks(limit + 1), parts, rng)
    assert spans == len(parts)
    for code, scores in enumerate(table):
        made = posting_list(code, ranks[code], limit, max(floor, np.float32(least)))
        found = List(made.key, made.threshold, made.items.tolist(), made.scores.tolist())
        assert found == expected_list(code, scores, bias, limit, least)


def test_accumulators_are_not_changed_in_place():
    combine = BestRanks(2)
    first, second = (
        to_ranks(np.array([[score, 0.5]], np.float32), np.array([2 * row, 2 * row + 1]))
        for row, score in enumerate([1, 2])
    )
    accumulator = combine.add_input(combine.create_accumulator(), first)
    before = accumulator.ranks.copy()
    combine.add_input(accumulator, second)
    combine.merge_accumulators([accumulator, Merged(1, second)])
    combine.extract_output(accumulator)
    np.testing.assert_array_equal(accumulator.ranks, before)
    np.testing.assert_array_equal(first, to_ranks(np.array([[1, 0.5]], np.float32), np.array([0, 1])))


def test_a_list_whose_ties_reach_past_its_end_keeps_only_what_is_above_them():
    scores = np.array([3, 1, 1, 1, 0], np.float32)
    made = posting_list(0, np.sort(to_ranks(scores, np.arange(5))), 2, np.float32(0))
    assert (made.threshold, made.items.tolist(), made.scores.tolist()) == (1.0, [0], [2.0])


def test_combine_runs_in_beam():
    table = np.random.default_rng(0).integers(0, 5, (4, 50)).astype(np.float32)
    parts = [(7, part) for part in cut(table, [10, 20, 33], LOWEST)]

    def check(found):
        ((key, (spans, ranks)),) = found
        assert (key, spans) == (7, 4)
        for code in range(4):
            order = sorted(range(50), key=lambda row: (-table[code, row], row))
            assert from_ranks(ranks[code])[1].tolist() == order[:6]

    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        assert_that(pipeline | beam.Create(parts) | beam.CombinePerKey(BestRanks(6)), check)
