import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_index.build import run_here
from beam_index.threshold import Sketched, between, bracket_of, join, threshold
from protos.errors import UserError
from tests.beam_index.oracle import expected_lists, written_lists
from tests.beam_index.tables import lists_table, write_table_export

FLOOR = np.float32(-9.0)


def by_sketch(parts: list[np.ndarray], most: int, cut: int) -> np.float32:
    """The threshold, through two sketches that are merged."""
    sketched = Sketched()
    halves = [
        functools.reduce(sketched.add_input, half, sketched.create_accumulator()) for half in (parts[:cut], parts[cut:])
    ]
    bracket = bracket_of(sketched.extract_output(sketched.merge_accumulators(halves)), most, FLOOR)
    return threshold(join([between(part, bracket) for part in parts]), most, FLOOR)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 20_000), min_size=1, max_size=6),
    share=st.floats(0, 1.2),
    cut=st.integers(0, 6),
    decimals=st.sampled_from([1, 6]),
)
def test_the_threshold_is_the_exact_one_however_sketches_are_merged(seed, sizes, share, cut, decimals):
    rng = np.random.default_rng(seed)
    parts = [np.round(rng.normal(size=size), decimals).astype(np.float32) for size in sizes]
    scores = np.sort(np.concatenate(parts))[::-1]
    most = max(1, int(share * len(scores)))
    expected = scores[most] if most < len(scores) else FLOOR
    assert by_sketch(parts, most, cut) == expected


def build(export, index, *options):
    exact = ["--direct_running_mode=in_memory", "--score_bits=32", "--no_block"]
    return run_here(["--model", str(export), "--output", str(index), "--no-progress", *exact, *options])


@pytest.fixture
def table() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(300, 90)).astype(np.float32)


@pytest.mark.parametrize("most", [41, 500, 6000, 10**6])
def test_a_number_of_postings_is_met_exactly_by_one_threshold_for_all_lists(tmp_path, table, most):
    ready = lists_table([(900, list(range(40)), [1.0] * 40)])
    export = write_table_export(tmp_path / "export", table, 0.5, ready)
    report = build(export, tmp_path / "index", "--postings_per_code=30", f"--max_postings={most}")
    free = [
        each.scores[place] + each.threshold
        for each in expected_lists(table, 0.5, 30)
        for place in range(len(each.scores))
    ]
    assert report.manifest["postings"] == min(most, len(free) + 40)
    exact = np.sort(
        [table[code][item] for code, each in enumerate(expected_lists(table, 0.5, 30)) for item in each.items]
    )
    least = exact[::-1][most - 40] if most - 40 < len(exact) else -np.inf
    found = [each for each in written_lists(tmp_path / "index") if each.key < 900]
    assert found == expected_lists(table, 0.5, 30, least=least)


def test_a_threshold_of_ones_own(tmp_path, table):
    export = write_table_export(tmp_path / "export", table, 0.5)
    build(export, tmp_path / "index", "--postings_per_code=30", "--threshold=1.25")
    assert written_lists(tmp_path / "index") == expected_lists(table, 0.5, 30, least=1.25)


def test_a_budget_that_the_ready_lists_alone_exceed_is_refused(tmp_path, table):
    export = write_table_export(tmp_path / "export", table, 0.5, lists_table([(900, [1, 2], [1.0, 0.5])]))
    with pytest.raises(UserError, match=r"--max_postings is 2, but the ready lists of the export alone have 2"):
        build(export, tmp_path / "index", "--max_postings=2")
