"""I4: an update of an index equals a full build."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_index.build import run_here
from beam_index.delta import merge
from beam_index.geometry import TILE_ITEMS
from beam_index.postings import NO_RANK
from beam_index.ranks import UNKNOWN
from beam_index.tiles import TileScorer
from protos.errors import UserError
from tests.beam_index.oracle import expected_lists, written_bytes, written_lists
from tests.beam_index.staged import Catalogue, all_scores, write_staged_export

SIZE = 2 * TILE_ITEMS + 300


def build(export, index, *options):
    fixed = ["--direct_running_mode=in_memory", "--postings_per_code=40", "--updatable", "--no-progress"]
    return run_here(["--model", str(export), "--output", str(index), *fixed, *options])


def require_equal(found, expected):
    for kind in ("postings", "block"):
        assert written_bytes(found, kind) == written_bytes(expected, kind)


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    directory = tmp_path_factory.mktemp("old")
    catalogue = Catalogue.random(SIZE)
    build(write_staged_export(directory / "export", catalogue), directory / "index")
    return catalogue, directory / "index"


CHANGES = {
    "nothing": ([], [], 0),
    "one item comes": ([], [], 1),
    "a new tile": ([], [], TILE_ITEMS),
    "one changes": ([17], [], 0),
    "one goes": ([], [4100], 0),
    "all of it": ([3, SIZE - 1], [0, 1, 5000], 12),
    "so many go that lists run dry": ([], list(range(2 * TILE_ITEMS)), 0),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    "options", [(), ("--no_block", "--max_postings=900", "--score_bits=8")], ids=["block", "lists"]
)
def test_an_update_equals_a_full_build(tmp_path, old, change, options):
    catalogue, index = old
    if options:
        build(write_staged_export(tmp_path / "first", catalogue), tmp_path / "base", *options)
        index = tmp_path / "base"
    export = write_staged_export(tmp_path / "export", catalogue.with_changes(*CHANGES[change]))
    full = build(export, tmp_path / "full", *options)
    update = build(export, tmp_path / "update", *options, "--base_index", str(index))
    require_equal(tmp_path / "update", tmp_path / "full")
    assert update.manifest["counts"] == full.manifest["counts"]
    gone = set(CHANGES[change][1])
    assert not any(gone & set(each.items) for each in written_lists(tmp_path / "update"))


def test_updates_can_follow_one_another(tmp_path, old):
    catalogue, index = old
    for step in range(3):
        catalogue = catalogue.with_changes([step], list(range(step * 40, 40 * step + 20)), 2, seed=step)
        export = write_staged_export(tmp_path / f"export-{step}", catalogue)
        build(export, tmp_path / f"index-{step}", "--base_index", str(index))
        index = tmp_path / f"index-{step}"
    build(export, tmp_path / "full")
    require_equal(index, tmp_path / "full")


def test_only_tiles_that_changed_are_scored(tmp_path, old, monkeypatch):
    catalogue, index = old
    scored = []
    score = TileScorer.score
    monkeypatch.setattr(
        TileScorer, "score", lambda self, keys, tiles: scored.append(list(tiles)) or score(self, keys, tiles)
    )
    build(
        write_staged_export(tmp_path / "export", catalogue.with_changes([], [], 1)),
        tmp_path / "index",
        "--base_index",
        str(index),
    )
    assert scored == [[2]]


def test_lists_are_those_of_the_whole_scorer_without_the_items_that_are_gone(tmp_path, old):
    catalogue, index = old
    export = write_staged_export(tmp_path / "export", catalogue.with_changes([8], [1, 2, 4099], 5))
    build(export, tmp_path / "index", "--score_bits=32", "--base_index", str(index))
    scores = all_scores(export, 70, SIZE + 5)
    scores[:, [1, 2, 4099]] = -np.inf
    *found, ready = written_lists(tmp_path / "index")
    assert (ready.items, ready.scores) == ([5, 4], [3.0, 1.0])
    for one, expected in zip(found, expected_lists(scores, 0.5, 40), strict=True):
        np.testing.assert_allclose(one.threshold, expected.threshold, rtol=1e-5)
        np.testing.assert_allclose(one.scores, expected.scores, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "export_options", "message"),
    [
        (
            ["--postings_per_code=41"],
            {},
            r"was built with --postings_per_code 40 and a completion block, this build has 41",
        ),
        (["--no_block"], {}, r"and a completion block, this build has 40 and --no_block"),
        ([], {"scorer": "another"}, r"another model: its scorer is a digest, that of .* is another"),
        ([], {"bias": 0.25}, r"another model: its bias is 0.5, that of .* is 0.25"),
    ],
)
def test_a_base_that_will_not_do_is_refused(tmp_path, old, options, export_options, message):
    catalogue, index = old
    export = write_staged_export(tmp_path / "export", catalogue, **export_options)
    with pytest.raises(UserError, match=message):
        build(export, tmp_path / "index", *options, "--base_index", str(index))
    assert not (tmp_path / "index").exists()


def test_a_base_that_keeps_nothing_and_an_export_that_tells_too_little_are_refused(tmp_path, old, residual_export):
    catalogue, _ = old
    export = write_staged_export(tmp_path / "export", catalogue)
    plain = ["--model", str(export), "--no-progress", "--direct_running_mode=in_memory"]
    run_here([*plain, "--output", str(tmp_path / "plain")])
    with pytest.raises(UserError, match="was not built with --updatable; build in full"):
        build(export, tmp_path / "index", "--base_index", str(tmp_path / "plain"))
    with pytest.raises(UserError, match="does not tell its scorer from its items"):
        build(residual_export, tmp_path / "index")


RANKS = st.sets(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=60)


@given(items=RANKS, now=RANKS, stale=st.sets(st.integers(0, 3), max_size=3), depth=st.integers(1, 12))
def test_merged_ranks_are_the_best_or_unknown(items, now, stale, depth):
    """A rank here is its score, 0 the best; an item is its tile and its score."""
    ranked = lambda of: sorted(score << 32 | tile * TILE_ITEMS for tile, score in of)  # noqa: E731
    base = ranked(items)
    kept = (base + [int(NO_RANK)] * depth)[:depth]
    anew = ranked({item for item in now if item[0] in stale})
    expected = sorted([*ranked({item for item in items if item[0] not in stale}), *anew])
    found = merge(
        np.array([kept], np.uint64),
        np.array([anew], np.uint64).reshape(1, -1),
        np.array(sorted(stale), np.int64),
        depth,
    )[0].tolist()
    expected = (expected + [int(NO_RANK)] * depth)[:depth]
    known = [rank for rank in found if rank != UNKNOWN]
    assert known == expected[: len(known)]
    assert all(rank == UNKNOWN for rank in found[len(known) :])
    if len(base) <= depth - 1 or not stale:
        assert len(known) == depth  # nothing was left out of the base, or nothing is stale


def test_codes_that_run_dry_are_scored_in_full(tmp_path, old, monkeypatch):
    catalogue, index = old
    whole = []
    score = TileScorer.score
    monkeypatch.setattr(TileScorer, "score", lambda self, keys, tiles: whole.append(tiles) or score(self, keys, tiles))
    gone = list(range(2 * TILE_ITEMS))
    build(
        write_staged_export(tmp_path / "export", catalogue.with_changes([], gone, 0)),
        tmp_path / "index",
        "--base_index",
        str(index),
    )
    assert [len(list(tiles)) for tiles in whole] == [2, 3]
