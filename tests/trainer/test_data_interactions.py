"""One type for all sources: its order, its numbering and its duplicates."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.interactions import Coded, Events, Interactions, Items, ItemText, build_interactions

EventList = list[tuple[str, str, int]]

ids = st.text("ab0123456789", min_size=1, max_size=3)
event_lists = st.lists(st.tuples(ids, ids, st.integers(-5, 5)), min_size=1, max_size=40)


def build(events: EventList, texts: dict[str, ItemText] | None = None) -> Interactions:
    users, items, times = zip(*events, strict=True)
    return build_interactions("test", Events(Coded.of(users), Coded.of(items), np.array(times)), texts or {})


def public(interactions: Interactions) -> EventList:
    """Events by their public ids, in order."""
    columns = (interactions.users, interactions.items, interactions.times)
    return [
        (interactions.user_ids[user], interactions.catalogue.item_id[item], int(time))
        for user, item, time in zip(*columns, strict=True)
    ]


def expected_events(events: EventList) -> EventList:
    """Sorted by user and time, first of each pair, ties in the order given."""
    kept, seen = [], set()
    for user, item, time in sorted(events, key=lambda event: event[2]):
        if (user, item) not in seen:
            seen.add((user, item))
            kept.append((user, item, time))
    return sorted(kept, key=lambda event: (len(event[0]), event[0]))


@settings(deadline=None)
@given(event_lists)
def test_events_are_sorted_and_pairs_occur_once(events: EventList):
    assert public(build(events)) == expected_events(events)


@settings(deadline=None)
@given(event_lists)
def test_numbers_follow_canonical_order(events: EventList):
    interactions = build(events)
    for numbered, found in ((interactions.user_ids, 0), (interactions.catalogue.item_id, 1)):
        assert list(numbered) == sorted({event[found] for event in events}, key=lambda text: (len(text), text))


@settings(deadline=None)
@given(st.lists(st.tuples(ids, ids), min_size=1, max_size=40), st.randoms())
def test_without_ties_the_order_of_the_source_does_not_matter(pairs, random):
    events = [(user, item, time) for time, (user, item) in enumerate(pairs)]
    shuffled = random.sample(events, len(events))
    one, other = build(events), build(shuffled)
    assert public(one) == public(other)
    assert one.catalogue == other.catalogue
    assert one.user_ids == other.user_ids


def test_ties_keep_the_order_of_the_source():
    assert public(build([("u", "b", 1), ("u", "a", 1), ("u", "c", 0)])) == [("u", "c", 0), ("u", "b", 1), ("u", "a", 1)]


def test_numbers_stand_in_numeric_order():
    assert build([("u", item, 0) for item in ("10", "9", "0100", "2")]).catalogue.item_id == ("2", "9", "10", "0100")


def test_catalogue_holds_what_occurs_and_names_the_rest_by_id():
    texts = {"a": ItemText("Alien", ("Horror", "Space")), "z": ItemText("Zodiac", ())}
    catalogue = build([("u", "b", 0), ("u", "a", 1)], texts).catalogue
    assert catalogue == Items(("a", "b"), ("Alien", "b"), (("Horror", "Space"), ()))
    assert len(catalogue) == 2
    assert catalogue.take([1]) == Items(("b",), ("b",), ((),))
    columns = {name: column.to_pylist() for name, column in catalogue.columns().items()}
    assert columns == {"item_id": ["a", "b"], "title": ["Alien", "b"], "genres": [["Horror", "Space"], []]}


def test_held_out_events_stay_marked_after_sorting():
    users, items = Coded.of(["v", "u", "u"]), Coded.of(["a", "a", "b"])
    events = Events(users, items, np.array([2, 1, 0]), np.array([True, False, True]))
    interactions = build_interactions("test", events, {})
    assert [event[:2] for event in public(interactions)] == [("u", "b"), ("u", "a"), ("v", "a")]
    assert interactions.held_out.tolist() == [True, False, True]


def test_summary_tells_the_sizes():
    events = [(f"user{user}", f"item{item}", 0) for user in range(30) for item in range(50) if (user + item) % 2]
    summary = build(events).summary()
    assert summary == "test: 30 users, 50 items, 750 interactions (50.00% of all pairs)"


def test_types_are_those_promised():
    interactions = build([("u", "a", 0), ("u", "b", 2**40)])
    assert (interactions.users.dtype, interactions.items.dtype, interactions.times.dtype) == (
        np.int32,
        np.int32,
        np.int64,
    )
    assert len(interactions) == 2
    assert interactions.held_out is None
