"""Features of events and of who asks: cut with their windows, added at their place, and served as trained."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from protos.errors import UserError
from trainer.config import Config, from_mapping
from trainer.data import split
from trainer.data.features import FeatureColumns
from trainer.data.histories import Histories
from trainer.data.interactions import Coded, Events, build_interactions
from trainer.export import export
from trainer.model import SparCode
from trainer.ranking import ModelRanker
from trainer.training import compile_model
from trainer.windows import WindowBatches, pad_histories, pad_with_context, training_windows_with_context

ITEMS, EVENTS, USERS = 9, 30, 4
RNG = np.random.default_rng(0)
COLUMNS = FeatureColumns(
    events={
        "rating": pa.array([None if number % 7 == 3 else number / 3 for number in range(EVENTS)], pa.float32()),
        "device": pa.array([("phone", "tablet", None)[number % 3] for number in range(EVENTS)]),
        "tags": pa.array([["a", "b"][: number % 3] for number in range(EVENTS)]),
        "image": pa.array(list(RNG.normal(size=(EVENTS, 3)).astype(np.float32)), pa.list_(pa.float32())),
    },
    users={"job": pa.array(["cook", "clerk", "cook", None]), "likes": pa.array([["x"], [], ["x", "y"], None])},
    training_events=np.arange(20),
)
DECLARED = {
    "events": [
        {"name": "rating", "kind": "number"},
        {"name": "device", "kind": "category"},
        {"name": "tags", "kind": "multi_category"},
        {"name": "image", "kind": "vector"},
    ],
    "users": [{"name": "job", "kind": "text", "hash_buckets": 32}, {"name": "likes", "kind": "multi_category"}],
}
HISTORIES = Histories(
    [np.array([3, 1, 4, 8, 5, 2, 7]), np.array([2]), np.zeros(0, int), np.array([6, 0])],
    [np.array([0, 4, 5, 11, 25, 20, 29]), np.array([3]), np.zeros(0, int), np.array([17, 2])],
    np.array([2, 0, 1, 3]),
)


def configuration(declared=DECLARED) -> Config:
    values = {
        "data": {"max_history": 5},
        "tokenizer": {"dim": 8},
        "quantizer": {"num_query_tokens": 2, "num_codewords": 4},
        "features": declared,
    }
    return from_mapping(values, "test")


def model_of(declared=DECLARED, active: bool = True) -> SparCode:
    tf.keras.utils.set_random_seed(1)
    model = SparCode(configuration(declared), np.ones(ITEMS, np.int64), columns=COLUMNS)
    compile_model(model)
    if active:
        shape = model.quantizer.codebooks.shape
        model.quantizer.activate(RNG.normal(size=shape).astype(np.float32), np.ones(shape[:3], np.float32))
    return model


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
    assert len(known.training_events) == sum(map(len, parts.train))
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
    columns = FeatureColumns(events={"device": pa.array(["a", "b", "new"])}, training_events=np.array([0, 1]))
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


def served(histories: Histories, width: int) -> dict[str, tf.Tensor]:
    """What a client would send: ids and values, padded on the left, with an unknown item in between."""
    inputs = {name: [] for name in ("history", "rating", "device", "tags", "image", "job", "likes")}
    events = {name: column.to_pylist() for name, column in COLUMNS.events.items()}
    users = {name: column.to_pylist() for name, column in COLUMNS.users.items()}
    for rows, keys, user in zip(histories.rows, histories.events, histories.users, strict=True):
        left, keys = width - len(rows) - 1, list(keys)
        inputs["history"].append([""] * left + [f"item {row}" for row in rows] + ["never seen"])
        rating = [np.nan if events["rating"][key] is None else events["rating"][key] for key in keys]
        inputs["rating"].append([9.0] * left + rating + [7.0])
        inputs["device"].append([""] * left + [events["device"][key] or "" for key in keys] + ["phone"])
        tags = [(events["tags"][key] + ["", ""])[:2] for key in keys]
        inputs["tags"].append([["", ""]] * left + tags + [["a", ""]])
        inputs["image"].append([[1.0] * 3] * left + [events["image"][key] for key in keys] + [[5.0] * 3])
        inputs["job"].append(users["job"][user] or "")
        inputs["likes"].append(((users["likes"][user] or []) + ["", ""])[:2])
    return {name: tf.constant(values) for name, values in inputs.items()}


def test_what_is_served_equals_what_is_trained(tmp_path):
    model = model_of()
    catalogue = {"item_id": pa.array([f"item {row}" for row in range(ITEMS)])}
    export(model, catalogue, [], tmp_path / "export")
    query = tf.saved_model.load(str(tmp_path / "export" / "query")).signatures["serving_default"]
    specs = query.structured_input_signature[1]
    assert set(specs) == {"history", "rating", "device", "tags", "image", "job", "likes"}
    assert [specs[name].shape.rank for name in ("rating", "tags", "image", "job", "likes")] == [2, 3, 3, 1, 2]
    expected = model.quantize(model.last_query_vectors(tf.constant(pad_with_context(HISTORIES, 5))))
    for width in (8, 11):
        found = query(**served(HISTORIES, width))
        np.testing.assert_allclose(found["tokens"], expected.tokens, atol=1e-5)


def test_without_declarations_windows_are_of_rows_alone():
    model = model_of({})
    assert model.context_vectors(tf.constant([[0]])) is None
    np.testing.assert_array_equal(model.windows_of(HISTORIES), pad_histories(HISTORIES.rows, 5))


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"events": [{"name": "history", "kind": "text"}]}, "'history' of events or users cannot name an input"),
        ({"users": [{"name": "a b", "kind": "text"}]}, "'a b' of events or users cannot name an input"),
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
