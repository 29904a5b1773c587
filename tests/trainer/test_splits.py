"""Splits: every event in one part, in order, at least one where there are three, and nothing leaks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.errors import UserError
from tests.support.data_files import real_data, write_movielens_csv
from trainer.data import Interactions, Split, load, split
from trainer.data.interactions import Coded, Events, build_interactions

PARTS = ("train", "validation", "test")


@st.composite
def interactions(draw, held_out: bool = False) -> Interactions:
    """A few users, each with up to 35 distinct items, times with ties."""
    lengths = draw(st.lists(st.integers(1, 35), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    users = np.repeat(np.arange(len(lengths)), lengths)
    items = np.concatenate([rng.choice(60, length, replace=False) for length in lengths])
    times = rng.integers(0, 12, len(users))
    coded = [Coded(column.astype(np.int32), [str(n) for n in range(60)]) for column in (users, items)]
    return build_interactions("made", Events(*coded, times, rng.random(len(users)) < 0.3 if held_out else None), {})


def user_events(data: Interactions, user: int) -> list[int]:
    """A user's items in the order of time, as rows of the full catalogue."""
    return data.items[data.users == user].tolist()


def expected_rows(parts: Split, data: Interactions, items: list[int]) -> list[int]:
    """Items of the full catalogue to rows of the split's; -1 where training has none."""
    known = list(parts.catalogue.item_id)
    ids = [data.catalogue.item_id[item] for item in items]
    return [known.index(item) if item in known else -1 for item in ids]


def check_cut(parts: Split, data: Interactions, sizes) -> None:
    """Compares every user's parts with a cut of `sizes(count)` events from the end, twice."""
    for user in range(len(data.user_ids)):
        events = user_events(data, user)
        last = sizes(len(events)) if len(events) >= 3 else 0
        ends = [len(events) - 2 * last, len(events) - last, len(events)]
        starts = [0, *ends[:2]]
        for part, start, end in zip(PARTS, starts, ends, strict=True):
            found = getattr(parts, part)[user]
            assert found.dtype == np.int32
            assert found.tolist() == expected_rows(parts, data, events[start:end])


@given(interactions())
@settings(deadline=None)
def test_chronological_takes_the_last_tenths_and_at_least_one(data: Interactions):
    check_cut(split(data), data, lambda count: max(1, int(count / 10 + 0.5)))


@given(interactions())
@settings(deadline=None)
def test_leave_last_out_takes_the_last_two(data: Interactions):
    check_cut(split(data, "leave_last_out"), data, lambda count: 1)


@given(interactions(held_out=True))
@settings(deadline=None)
def test_fixed_keeps_the_held_out_events_for_the_test(data: Interactions):
    parts = split(data, "fixed")
    for user in range(len(data.user_ids)):
        items, held = user_events(data, user), data.held_out[data.users == user].tolist()
        given_events = [item for item, out in zip(items, held, strict=True) if not out]
        count = len(given_events)
        cut = count - (max(1, int(count / 10 + 0.5)) if count >= 2 else 0)
        assert parts.train[user].tolist() == expected_rows(parts, data, given_events[:cut])
        assert parts.validation[user].tolist() == expected_rows(parts, data, given_events[cut:])
        out_events = [item for item, out in zip(items, held, strict=True) if out]
        assert parts.test[user].tolist() == expected_rows(parts, data, out_events)


@given(interactions(held_out=True), st.sampled_from(["chronological", "leave_last_out", "fixed"]))
@settings(deadline=None)
def test_parts_hold_every_event_once_and_training_defines_the_catalogue(data: Interactions, method: str):
    parts = split(data, method)
    for user in range(len(data.user_ids)):
        joined = np.concatenate([getattr(parts, part)[user] for part in PARTS])
        known = joined[joined >= 0]
        assert len(joined) == np.sum(data.users == user)
        assert len(set(known.tolist())) == len(known)
    trained = {data.catalogue.item_id.index(item) for item in parts.catalogue.item_id}
    assert {row for rows in parts.train for row in rows.tolist()} == set(range(len(parts.catalogue)))
    assert sorted(trained) == [data.catalogue.item_id.index(item) for item in parts.catalogue.item_id]


@given(interactions(held_out=True), st.sampled_from(["chronological", "leave_last_out", "fixed"]))
@settings(deadline=None)
def test_queries_see_only_what_came_before(data: Interactions, method: str):
    parts = split(data, method)
    for part, earlier in (("validation", ["train"]), ("test", ["train", "validation"])):
        queries = parts.queries(part)
        assert queries.users.tolist() == [user for user, rows in enumerate(getattr(parts, part)) if len(rows)]
        for user, history, targets in zip(queries.users, queries.histories, queries.targets, strict=True):
            before = [row for name in earlier for row in getattr(parts, name)[user].tolist() if row >= 0]
            assert history.tolist() == before
            assert history.dtype == np.int32
            assert targets.tolist() == getattr(parts, part)[user].tolist()
            assert not set(before) & set(targets.tolist())


def from_lists(*users: str) -> Interactions:
    """One interaction a letter, in order."""
    names = [f"u{n}" for n, items in enumerate(users) for _ in items]
    return build_interactions("made", Events(Coded.of(names), Coded.of("".join(users)), np.arange(len(names)) % 40), {})


def lists(sequences: list[np.ndarray]) -> list[list[int]]:
    return [rows.tolist() for rows in sequences]


def test_items_outside_training_are_kept_as_targets_and_left_out_of_histories():
    parts = split(from_lists("abcxy", "ab"))
    assert parts.catalogue.item_id == ("a", "b", "c")
    assert lists(parts.train) == [[0, 1, 2], [0, 1]]
    assert lists(parts.validation) == [[-1], []]
    assert lists(parts.test) == [[-1], []]
    test = parts.queries("test")
    assert test.users.tolist() == [0]
    assert lists(test.histories) == [[0, 1, 2]]
    assert lists(test.targets) == [[-1]]


@pytest.mark.parametrize(("count", "tenth"), [(3, 1), (14, 1), (15, 2), (24, 2), (25, 3), (26, 3)])
def test_a_tenth_is_rounded_half_up(count, tenth):
    parts = split(from_lists("abcdefghijklmnopqrstuvwxyz"[:count], "abcdefghijklmnopqrstuvwxyz"))
    assert len(parts.test[0]) == len(parts.validation[0]) == tenth
    assert len(parts.train[0]) == count - 2 * tenth


def test_take_chooses_queries():
    queries = split(from_lists("abc", "bca", "cab")).queries("test")
    some = queries.take(np.array([2, 0]))
    assert len(some) == 2
    assert some.users.tolist() == [2, 0]
    assert lists(some.targets) == [queries.targets[2].tolist(), queries.targets[0].tolist()]


def test_summary_counts_the_parts():
    assert split(from_lists("abcxy", "ab")).summary() == (
        "chronological split: 5 train, 1 validation, 1 test events; 3 items in training;"
        " 1 test events are of items never seen in training"
    )


def test_unknown_method():
    with pytest.raises(UserError) as caught:
        split(from_lists("abc"), "random")
    assert str(caught.value) == ("split method 'random' is unknown; choose one of chronological, leave_last_out, fixed")


def test_fixed_needs_held_out_events():
    with pytest.raises(UserError, match=r"made holds no test events out.*train\.txt.*use 'chronological'"):
        split(from_lists("abc"), "fixed")


def test_unknown_part():
    with pytest.raises(ValueError, match="part is 'training', expected 'validation' or 'test'"):
        split(from_lists("abc")).queries("training")


@pytest.mark.parametrize("source", ["generated", "ml-latest-small", "movietweetings-100k"])
def test_test_events_are_a_users_last(source, tmp_path):
    data = load(write_movielens_csv(tmp_path) if source == "generated" else real_data(source))
    parts = split(data)
    ids = np.array(data.catalogue.item_id)
    for user in range(0, len(data.user_ids), 97):
        mine = data.users == user
        times = dict(zip(ids[data.items[mine]].tolist(), data.times[mine].tolist(), strict=True))
        trained = [times[parts.catalogue.item_id[row]] for row in parts.train[user]]
        assert trained == sorted(trained)
        later = [times[parts.catalogue.item_id[row]] for row in parts.test[user] if row >= 0]
        assert all(time >= trained[-1] for time in later)
        assert (len(parts.test[user]) >= 1) == (mine.sum() >= 3)
