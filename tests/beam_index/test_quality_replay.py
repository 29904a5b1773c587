"""The replay of queries against an oracle that goes query by query."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

from beam_index.geometry import Span
from beam_index.quality.best import NO_ROW, better, none
from beam_index.quality.check import look_up, make_world, plan_of
from beam_index.quality.contributions import InMemory
from beam_index.quality.encode import encode
from beam_index.quality.lists import to_lists
from beam_index.quality.replay import Query, World, replay
from beam_index.quality.sample import read_catalogue
from protos.errors import UserError
from tests.beam_index.quality_oracle import Oracle
from tests.beam_index.replays import replayed
from tests.support.exports import PRODUCT, TinySpec, random_histories, write_tiny_export
from tests.support.indexes import TinyIndexSpec, write_tiny_index

SPECS = {"residual": TinySpec(), "product": PRODUCT, "no events": TinySpec(num_events=0)}
# Slot 1 of residual models (keys 4 to 7) has no list at all in the last.
INDEXES = {
    "all": TinyIndexSpec(),
    "pruned": TinyIndexSpec(postings_per_code=4),
    "few codes": TinyIndexSpec(keys=(0, 1, 5, 6, 8, 9, 11), postings_per_code=5),
    "a slot without lists": TinyIndexSpec(keys=(0, 3, 9), postings_per_code=5),
    "no block": TinyIndexSpec(postings_per_code=6, block=False),
}
HISTORIES = [*random_histories(TinySpec(), 20, seed=3), [], ["never seen", "item-3"]]


@pytest.fixture(autouse=True)
def _narrow_tiles(monkeypatch):
    """Three tiles of a catalogue of 40."""
    monkeypatch.setattr("beam_index.geometry.TILE_ITEMS", 16)
    monkeypatch.setattr("beam_index.quality.replay._BATCH", 5)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, pathlib.Path]:
    root = tmp_path_factory.mktemp("models")
    return {name: write_tiny_export(root / name, spec) for name, spec in SPECS.items()}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("kind", INDEXES)
def test_every_way_of_making_sums_answers_as_the_oracle(models, tmp_path, spec, kind):
    model = models[spec]
    index = write_tiny_index(tmp_path / "index", model, INDEXES[kind])
    oracle = Oracle(model, index)
    answers = replayed(model, index, HISTORIES, 50)
    assert set(answers) == {"exact", "sparse", "rescored", *(["completed"] if INDEXES[kind].block else [])}
    for way, found in answers.items():
        for query, history in enumerate(HISTORIES):
            expected = oracle.answer(history, way)
            rows = found.rows[query]
            assert [row for row in rows if row != NO_ROW] == [row for row, _ in expected]
            count = len(expected)
            np.testing.assert_allclose(found.scores[query, :count], [score for _, score in expected], rtol=1e-5)
            assert (rows[count:] == NO_ROW).all()
            exact = oracle.exact(history)
            np.testing.assert_allclose(
                found.exact[query, :count], [exact.get(row, 0.0) for row, _ in expected], rtol=1e-5, atol=1e-6
            )


def test_the_best_k_are_the_first_k_of_all(models, tmp_path):
    index = write_tiny_index(tmp_path / "index", models["residual"], INDEXES["pruned"])
    many, few = (replayed(models["residual"], index, HISTORIES, k) for k in (50, 3))
    for way, found in few.items():
        for wide, narrow in zip(many[way], found, strict=True):
            np.testing.assert_array_equal(wide[:, :3], narrow)


def test_no_queries_have_no_answers(models, tmp_path):
    index = write_tiny_index(tmp_path / "index", models["product"])
    for found in replayed(models["product"], index, [], 7).values():
        assert found.rows.shape == found.scores.shape == found.exact.shape == (0, 7)


def test_a_block_of_other_tiles_is_named(models, tmp_path):
    index = write_tiny_index(tmp_path / "index", models["residual"], TinyIndexSpec(tile_items=8))
    with pytest.raises(
        UserError, match=r"block has a tile of 8 items from item 0 on, expected 16 from item 0 on; build"
    ):
        replayed(models["residual"], index, HISTORIES, 5)


def test_arrays_in_memory_answer_as_the_same_arrays_on_disk(models, tmp_path):
    model = models["residual"]
    index = write_tiny_index(tmp_path / "index", model, INDEXES["pruned"])
    plan = plan_of(model, index)
    encoded = encode(plan, {"history": HISTORIES})
    overview, lists, found = look_up(plan, encoded)
    world = make_world(plan, encoded, found, overview, lists)
    tiles = [Span(0, 16), Span(16, 32), Span(32, 40)]
    exact, completed = (
        InMemory(part.keys, np.concatenate([part.tile(items) for items in tiles], axis=1))
        for part in (world.exact, world.completed)
    )
    queries = Query(encoded, found.keys, read_catalogue(model).rows(HISTORIES))
    in_memory = replay(queries, World(40, exact, world.events, lists, completed), 9)
    for way, expected in replay(queries, world, 9).items():
        for one, other in zip(in_memory[way], expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_lists_of_two_reads_are_one_ascending_set():
    lists = to_lists([(7, np.array([2, 1]), np.array([0.5, 0.25])), (3, np.array([], int), np.array([]))])
    assert lists.keys.tolist() == [3, 7]
    assert lists.offsets.tolist() == [0, 0, 2]
    assert lists.items.tolist() == [2, 1]


@pytest.mark.parametrize("width", [1, 4, 40])
def test_the_best_of_tiles_are_the_best_of_all_ties_to_the_smaller_row(width):
    rng = np.random.default_rng(width)
    scores = rng.integers(0, 6, (7, 40)).astype(np.float32)  # many ties, some without a score
    best = none(7, 9)
    for first in range(0, 40, width):
        part = scores[:, first : first + width]
        best = better(best, part, 10 * part, first)
    for query in range(7):
        order = sorted((row for row in range(40) if scores[query, row] > 0), key=lambda row: (-scores[query, row], row))
        assert best.rows[query].tolist() == order[:9]
        assert best.scores[query].tolist() == scores[query, order[:9]].tolist()
        assert best.exact[query].tolist() == (10 * scores[query, order[:9]]).tolist()
