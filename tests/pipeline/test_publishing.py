"""Which versions stay, and which run is taken up."""

from __future__ import annotations

import itertools
import pathlib
import shutil
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.publishing.retention import retire
from pipeline.publishing.runs import Run, Runs
from protos.storage import Store, open_store
from tests.support.published import write_servable

_places = itertools.count()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[set[int]], Store]:
    """Makes a place that has these versions."""
    servable = write_servable(tmp_path_factory.mktemp("servable") / "1", "a")

    def fill(versions: set[int]) -> Store:
        store = open_store(f"memory://retention-{next(_places)}")
        for version in versions:
            store.publish(servable, f"p{version}", version)
        return store

    return fill


VERSIONS = st.sets(st.integers(1, 12), min_size=1, max_size=8)


@given(versions=VERSIONS, keep=st.integers(2, 5), protect=st.sets(st.integers(1, 12), max_size=3), data=st.data())
def test_the_last_few_the_protected_and_the_new_one_stay(
    filled: Callable[[set[int]], Store], versions: set[int], keep: int, protect: set[int], data: st.DataObject
) -> None:
    newest = data.draw(st.sampled_from(sorted(versions)))
    store = filled(versions)
    removed = retire(store, newest, keep, protect)
    left = set(store.published())
    for version in versions:
        is_of_the_last = sum(other > version for other in versions) < keep
        assert (version in left) == (is_of_the_last or version in protect or version == newest)
    assert removed == sorted(versions - left)


@pytest.fixture
def runs(tmp_path: pathlib.Path) -> Runs:
    found = Runs(tmp_path / "work")
    with found.locked():
        pass
    return found


def finish(run: Run) -> None:
    run.training.mkdir()
    run.finish({"version": 1})


def test_a_run_is_taken_up_until_it_is_finished(runs: Runs) -> None:
    first = runs.take_up({"data": "a"}, warm_start=False)
    assert runs.take_up({"data": "a"}, warm_start=False) == first
    finish(first)
    assert runs.take_up({"data": "a"}, warm_start=False).publisher != first.publisher


def test_a_run_that_was_asked_for_something_else_is_left_until_another_is_finished(runs: Runs) -> None:
    other = runs.take_up({"data": "a"}, warm_start=False)
    mine = runs.take_up({"data": "b"}, warm_start=False)
    assert mine != other
    assert runs.take_up({"data": "a"}, warm_start=False) == other
    finish(mine)
    runs.clear()
    assert not other.directory.exists()
    assert mine.directory.exists()


def test_a_warm_start_is_from_the_last_finished_run_and_stays_so(runs: Runs) -> None:
    assert runs.take_up({"data": "a"}, warm_start=True).warm_start == ""
    finished = [runs.take_up({"data": data}, warm_start=False) for data in "bc"]
    for run in finished:
        finish(run)
    warm = runs.take_up({"data": "d"}, warm_start=True)
    assert warm.warm_start == str(finished[-1].training)
    assert runs.take_up({"data": "d"}, warm_start=True) == warm
    assert runs.take_up({"data": "d"}, warm_start=False) != warm


def test_a_run_that_died_before_it_began_is_cleared_away(runs: Runs) -> None:
    run = runs.take_up({"data": "a"}, warm_start=False)
    empty = run.directory.with_name("20260101T000000Z-000000")
    empty.mkdir()
    finish(run)
    runs.clear()
    assert [path.name for path in run.directory.parent.iterdir()] == [run.directory.name]
    shutil.rmtree(run.directory)
    assert runs.take_up({"data": "a"}, warm_start=True).warm_start == ""
