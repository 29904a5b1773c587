"""Features of events and of who asks: cut with their windows, added at their place, and served as trained."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from protos.artifact import read_manifest
from protos.errors import UserError
from tests.support.context import (
    CATALOGUE,
    DECLARED,
    HISTORIES,
    ITEMS,
    configuration,
    model_of,
    values_of,
)
from trainer.data import split
from trainer.data.features import FeatureColumns
from trainer.data.histories import Histories
from trainer.data.interactions import Coded, Events, build_interactions
from trainer.export import FORMAT, export
from trainer.model import SparCode
from trainer.ranking import ModelRanker
from trainer.windows import WindowBatches, pad_histories, pad_with_context, training_windows_with_context


def test_windows_hold_the_keys_of_events_beside_their_items():
    windows = pad_with_context(HISTORIES, 5)
    assert windows.shape == (4, 5, 3)
    assert windows[0].tolist() == [[4, 5, 2], [8, 11, 2], [5, 25, 2], [2, 20, 2], [7, 29, 2]]
    assert windows[1].tolist() == [[-1, -1, 0]] * 4 + [[2, 3, 0]]
    assert windows[2].tolist() == [[-1, -1, 1]] * 5


def test_training_windows_are_cut_alike_and_know_their_user():
    windows = training_windows_with_context(HISTORIES, 5)
    pairs = {(row, event, user) for window in windows.tolist() for row, event, user in window if row >= 0}
    expected = {
        (int(row), int(event), int(user))
        for rows, events, user in zip(HISTORIES.rows, HISTORIES.events, HISTORIES.users, strict=True)
        for row, event in zip(rows, events, strict=True)
    }
    assert pairs == expected
    assert all(len(set(window[:, 2])) == 1 for window in windows)
    batches = list(WindowBatches(windows, batch_events=6, seed=0).epoch(0))
    assert sum(len(batch) for batch in batches) == len(windows)
    assert {batch.shape[2] for batch in batches} == {3}


def test_a_split_leads_to_the_columns_of_every_event():
    users, items = [f"u{user}" for user in range(5) for _ in range(8)], [f"i{n % 11}" for n in range(40)]
    noise = np.random.default_rng(2).permutation(40)
    columns = {"of": pa.array([f"{user} {item}" for user, item in zip(users, items, strict=True)])}
    parts = split(build_interactions("made", Events(Coded.of(users), Coded.of(items), noise, features=columns), {}))
    of = parts.event_features["of"].to_pylist()
    known = parts.columns()
    assert known.event_counts.sum() == sum(map(len, parts.train))
    assert set(known.event_counts.tolist()) == {0, 1}
    for part in ("validation", "test"):
        queries = parts.queries(part).take(np.array([3, 0]))
        assert queries.histories.users.tolist() == queries.users.tolist()
        for query, user in enumerate(queries.users):
            rows, events = queries.histories.rows[query], queries.histories.events[query]
            expected = [f"{parts.user_ids[user]} {parts.catalogue.item_id[row]}" for row in rows]
            assert [of[event] for event in events] == expected


def test_slices_of_histories_keep_their_keys():
    part = HISTORIES[1:3]
    assert (len(part), part[0].tolist(), part.events[0].tolist(), part.users.tolist()) == (2, [2], [3], [0, 1])


def test_encoders_are_fitted_on_training_events_only():
    columns = FeatureColumns(events={"device": pa.array(["a", "b", "new"])}, event_counts=np.array([1, 1, 0]))
    declared = {"events": [{"name": "device", "kind": "category"}]}
    model = SparCode(configuration(declared), np.ones(ITEMS, np.int64), columns=columns)
    assert model.event_features.sum.parts[0].table.shape[0] == 3
    assert not model.event_features(tf.constant([2])).numpy().any()


def test_context_is_added_to_the_events_it_belongs_to():
    model = model_of()
    windows = pad_with_context(HISTORIES, 5)
    found = model.context_vectors(tf.constant(windows)).numpy()
    for query, place, (_, event, user) in ((q, p, w) for q, row in enumerate(windows) for p, w in enumerate(row)):
        expected = model.user_features(tf.constant([user])).numpy()[0]
        if event >= 0:
            expected = expected + model.event_features(tf.constant([event])).numpy()[0]
        np.testing.assert_allclose(found[query, place], expected, atol=1e-6)


def test_a_query_depends_on_its_context_and_not_on_that_of_the_event_it_predicts():
    model = model_of()
    windows = pad_with_context(HISTORIES, 5)
    plain = model.last_query_vectors(tf.constant(windows)).numpy()
    for channel, changes in ((1, [True, True, False, True]), (2, [True] * 4)):
        other = windows.copy()
        other[..., channel] = np.where(windows[..., channel] >= 0, (windows[..., channel] + 1) % 4, -1)
        changed = model.last_query_vectors(tf.constant(other)).numpy()
        assert [not np.allclose(a, b, atol=1e-4) for a, b in zip(plain, changed, strict=True)] == changes
    last = windows.copy()
    last[:, -1, 1] = 8
    one, two = (model.query_vectors(tf.constant(array)).numpy()[:, :-1] for array in (windows, last))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_training_moves_the_weights_of_context():
    model = model_of(active=False)
    before = [weight.numpy() for weight in (*model.event_features.weights, *model.user_features.weights)]
    model.train_step(tf.constant(pad_with_context(HISTORIES, 6)))
    after = [weight.numpy() for weight in (*model.event_features.weights, *model.user_features.weights)]
    assert all(not np.allclose(old, new) for old, new in zip(before, after, strict=True))
    assert not any("splits" in weight.name or "values" in weight.name for weight in model.weights)


def test_a_ranker_looks_the_context_up():
    model = model_of()
    ranked = ModelRanker(model)(HISTORIES, 3)
    scores = model.catalogue_scores(tf.constant(pad_with_context(HISTORIES, 5))).numpy()
    for query, history in enumerate(HISTORIES):
        order = [row for row in np.argsort(-scores[query], kind="stable") if row not in history]
        assert ranked[query].tolist() == order[: len(ranked[query])] + [-1] * (3 - len(order))


# What stands where a value is missing, by kind; of several values a query brings two, of a vector three.
MISSING = {"number": np.nan, "category": "", "text": "", "multi_category": ["", ""], "vector": [np.nan] * 3}


def sent(place: str, name: str, kind: str, key: int):
    """A value as a client sends it."""
    value = values_of(place, name, key)
    if value is None:
        return MISSING[kind]
    return [*value, "", ""][:2] if kind == "multi_category" else value


def served(histories: Histories, width: int) -> dict[str, tf.Tensor]:
    """What a client would send: ids and values, padded on the left by whatever, with an unknown item at the end."""
    anything = {"number": 9.0, "category": "phone", "text": "good", "multi_category": ["a", ""], "vector": [5.0] * 3}
    inputs = {"history": []}
    for rows in histories.rows:
        inputs["history"].append([""] * (width - len(rows) - 1) + [f"item {row}" for row in rows] + ["never seen"])
    for feature in DECLARED["events"]:
        name, kind = feature["name"], feature["kind"]
        inputs[name] = [
            [anything[kind]] * (width - len(keys) - 1)
            + [sent("events", name, kind, key) for key in keys]
            + [anything[kind]]
            for keys in histories.events
        ]
    for feature in DECLARED["users"]:
        inputs[feature["name"]] = [sent("users", feature["name"], feature["kind"], key) for key in histories.users]
    return {name: tf.constant(values) for name, values in inputs.items()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = model_of()
    return model, export(model, CATALOGUE, [], tmp_path_factory.mktemp("context") / "export")


def test_what_is_served_equals_what_is_trained(exported):
    model, directory = exported
    query = tf.saved_model.load(str(directory / "query")).signatures["serving_default"]
    specs = query.structured_input_signature[1]
    names = [feature["name"] for place in ("events", "users") for feature in DECLARED[place]]
    assert set(specs) == {"history", *names}
    expected = model.quantize(model.last_query_vectors(tf.constant(pad_with_context(HISTORIES, 5))))
    for width in (8, 11):
        found = query(**served(HISTORIES, width))
        np.testing.assert_allclose(found["tokens"], expected.tokens, atol=1e-5)


def test_the_manifest_says_what_queries_bring(exported):
    _, directory = exported
    found = read_manifest(directory, FORMAT)["model"]["query_inputs"]
    assert [(each["name"], each["place"], each["kind"]) for each in found] == [
        (feature["name"], place, feature["kind"]) for place in ("event", "user") for feature in DECLARED[f"{place}s"]
    ]
    assert {each["name"]: each["width"] for each in found if each["width"]} == {"image": 3, "face": 3}
    specs = tf.saved_model.load(str(directory / "query")).signatures["serving_default"].structured_input_signature[1]
    for each in found:
        spec = specs[each["name"]]
        assert (spec.dtype.name, spec.shape.rank) == (each["dtype"], each["rank"])
        assert spec.shape.as_list()[:-1] == [None] * (each["rank"] - 1)
        assert spec.shape[-1] == each["width"]


def test_without_declarations_windows_are_of_rows_alone():
    model = model_of({})
    assert model.context_vectors(tf.constant([[0]])) is None
    np.testing.assert_array_equal(model.windows_of(HISTORIES), pad_histories(HISTORIES.rows, 5))


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"events": [{"name": "history", "kind": "text"}]}, "'history' of events or users cannot name an input"),
        ({"users": [{"name": "a b", "kind": "text"}]}, "'a b' of events or users cannot name an input"),
        ({"users": [{"name": "class", "kind": "text"}]}, "'class' of events or users cannot name an input"),
        *(
            (
                {place: [{"name": name, "kind": "text"}]},
                f"'{name}' of events or users cannot name .* another of that name",
            )
            for place in ("events", "users")
            for name in ("relevant", "k", "exclude_ids", "allow_categories", "deny_categories", "include_seen")
        ),
        (
            {k: [{"name": "x", "kind": "text"}] for k in ("events", "users")},
            "events and users name a column twice: x, x",
        ),
    ],
)
def test_names_that_cannot_be_inputs_are_refused(declared, expected):
    with pytest.raises(UserError, match=expected):
        configuration(declared)


@pytest.mark.parametrize("place", ["events", "users"])
def test_a_column_that_the_data_lacks_is_named(place):
    with pytest.raises(
        UserError, match=rf"features.{place}: the data has no {place} column 'x'; it has '(rating|job)'"
    ):
        model_of({place: [{"name": "x", "kind": "text"}]})
