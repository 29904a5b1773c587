"""Items by their features: what the model makes of them, and how well it ranks items it has never seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from protos.artifact import read_manifest
from protos.errors import UserError
from trainer import task
from trainer.config import Config, from_mapping
from trainer.data import split
from trainer.data.features import FeatureColumns
from trainer.data.interactions import Interactions
from trainer.data.synthetic import SyntheticSpec, generate
from trainer.export import FORMAT, export
from trainer.model import SparCode
from trainer.sequence_model import SequenceModel
from trainer.training import compile_model
from trainer.two_tower import TwoTower
from trainer.windows import pad_histories

ITEMS = 12
COLUMNS = {
    "item_id": pa.array([f"item {row}" for row in range(ITEMS)]),
    "genres": pa.array([["a"], ["b", "a"], []] * 4),
    "year": pa.array([1990, None, 2001] * 4),
}
DECLARED = [{"name": "genres", "kind": "multi_category"}, {"name": "year", "kind": "number"}]


def configuration(id_dropout: float = 0.0, items=DECLARED) -> Config:
    values = {
        "data": {"max_history": 6},
        "tokenizer": {"dim": 8, "dropout": 0.1},
        "quantizer": {"num_query_tokens": 2, "num_codewords": 4, "warmup_epochs": 1},
        "features": {"items": items, "id_dropout": id_dropout},
    }
    return from_mapping(values, "test")


def model_of(config: Config, kind: type[SequenceModel] = TwoTower) -> SequenceModel:
    tf.keras.utils.set_random_seed(1)
    model = kind(config, np.ones(ITEMS, np.int64), columns=FeatureColumns(items=COLUMNS))
    model.item_bias.assign(np.arange(1.0, ITEMS + 1))
    return model


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def feature_part(model: SequenceModel) -> np.ndarray:
    """What features add to the vector of each item, by plain loops."""
    genres, year = model.item_features.sum.parts
    mean, deviation = np.mean([1990, 2001]), np.std([1990, 2001])
    parts = []
    for names, number in zip(COLUMNS["genres"].to_pylist(), COLUMNS["year"].to_pylist(), strict=True):
        bag = [genres.table.numpy()[{"a": 1, "b": 2}[name]] for name in names]
        numbers = np.array([0.0, 1.0] if number is None else [(number - mean) / deviation, 0.0])
        parts.append(np.sum(bag, 0) / max(len(bag), 1) + numbers @ year.kernel.numpy())
    return np.array(parts)


def test_an_item_is_its_id_and_its_features():
    model = model_of(configuration())
    expected = unit(model.item_embeddings.numpy()[:ITEMS] + feature_part(model))
    rows = np.array([[3, 0], [11, 3]])
    np.testing.assert_allclose(model.item_vectors(tf.constant(rows)), expected[rows], atol=1e-5)


def test_without_its_id_it_is_its_features_alone():
    model = model_of(configuration())
    np.testing.assert_allclose(model.vectors_from_features(COLUMNS), unit(feature_part(model)), atol=1e-5)
    new = {"genres": pa.array([["b", "a"]]), "year": pa.array([2001])}
    found = model.vectors_from_features(new).numpy()[0]
    genres = model.item_features.sum.parts[0].table.numpy()
    by_hand = genres[1:3].mean(0) + feature_part(model)[2]
    np.testing.assert_allclose(found, unit(by_hand), atol=1e-5)


def test_the_start_marker_has_no_features():
    model = model_of(configuration())
    np.testing.assert_allclose(
        model.item_vectors(tf.constant([ITEMS]))[0], unit(model.item_embeddings.numpy()[-1]), atol=1e-5
    )


def test_hidden_ids_are_a_share_of_the_items_and_the_same_ones_all_through_a_step():
    model = model_of(configuration(id_dropout=0.25))
    rows, without = tf.range(ITEMS + 1), unit(feature_part(model))
    seen, hidden_at = model.item_vectors(rows).numpy(), []
    for step in range(200):
        vectors = model.item_vectors(rows, tf.constant(step, tf.int64)).numpy()
        biases = model.item_biases(rows[:-1], tf.constant(step, tf.int64)).numpy()
        hidden = biases == 0
        np.testing.assert_allclose(vectors[:-1], np.where(hidden[:, None], without, seen[:-1]), atol=1e-5)
        np.testing.assert_allclose(vectors[-1], seen[-1], atol=1e-5)
        hidden_at.append(hidden)
    assert abs(np.mean(hidden_at) - 0.25) < 0.04
    assert len({tuple(hidden) for hidden in hidden_at}) > 100


def test_with_nothing_declared_the_model_is_the_one_of_ids():
    model = model_of(configuration(items=[]))
    assert model.item_features is None
    assert {weight.name for weight in model.weights if "item" in weight.name} == {"item_embeddings:0", "item_bias:0"}
    expected = unit(model.item_embeddings.numpy())
    np.testing.assert_allclose(model.item_vectors(tf.range(ITEMS + 1), tf.constant(3, tf.int64)), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [SparCode, TwoTower])
def test_a_train_step_moves_the_features_too_and_leaves_what_they_are_made_from(kind):
    model = model_of(configuration(id_dropout=0.5), kind)
    compile_model(model)
    windows = tf.constant(pad_histories([np.arange(5), np.arange(3, 9)], 7))
    before = [weight.numpy() for weight in model.item_features.sum.weights]
    table = [weight.numpy() for weight in model.item_features.table.weights]
    for _ in range(2):
        model.train_step(windows)
    for old, new in zip(before, model.item_features.sum.weights, strict=True):
        assert not np.allclose(old, new)
    for old, new in zip(table, model.item_features.table.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match=r"no items column 'studio'; it has 'item_id', 'genres', 'year'"):
        model_of(configuration(items=[{"name": "studio", "kind": "text"}]))


def test_an_export_scores_by_features_and_lists_them(tmp_path):
    model = model_of(configuration(), SparCode)
    compile_model(model)
    shape = model.quantizer.codebooks.shape
    model.quantizer.activate(
        np.random.default_rng(1).normal(size=shape).astype(np.float32), np.ones(shape[:3], np.float32)
    )
    export(model, COLUMNS, [], tmp_path / "export")
    assert pq.read_table(tmp_path / "export" / "items.parquet").to_pydict() == pa.table(COLUMNS).to_pydict()
    features = read_manifest(tmp_path / "export", FORMAT)["model"]["features"]
    assert [(feature["name"], feature["kind"]) for feature in features["items"]] == [
        ("genres", "multi_category"),
        ("year", "number"),
    ]
    scorer = tf.saved_model.load(str(tmp_path / "export" / "scorer")).signatures["serving_default"]
    keys = tf.range(4, dtype=tf.int64)
    found = scorer(keys=keys, items=tf.range(ITEMS))["scores"]
    np.testing.assert_allclose(found, model.score_codes(keys, tf.range(ITEMS)), rtol=1e-5, atol=1e-5)
    query = tf.saved_model.load(str(tmp_path / "export" / "query")).signatures["serving_default"]
    assert set(query.structured_input_signature[1]) == {"history"}


def without_items(data: Interactions, held_out: np.ndarray) -> Interactions:
    """The interactions as if some items were not there."""
    kept = ~held_out[data.items]
    return dataclasses.replace(
        data, users=data.users[kept], items=data.items[kept], times=data.times[kept], event_features={}
    )


def test_items_that_training_never_saw_are_ranked_far_better_than_by_chance(tmp_path):
    data = generate(SyntheticSpec(users=200, items=400, interactions=10_000, interests=8))
    held_out = np.zeros(len(data.catalogue), bool)
    held_out[np.random.default_rng(0).permutation(len(held_out))[: len(held_out) // 10]] = True
    cold = np.flatnonzero(held_out)
    parts = split(without_items(data, held_out))
    assert not {data.catalogue.item_id[item] for item in cold} & set(parts.catalogue.item_id)
    declared = [{"name": "genres", "kind": "multi_category"}, {"name": "title", "kind": "text", "hash_buckets": 512}]
    values = {
        "data": {"max_history": 20},
        "tokenizer": {"dim": 32, "dropout": 0.1},
        "features": {"items": declared, "id_dropout": 0.3},
        "training": {"epochs": 6, "validate_every": 6},
    }
    model = task.train(parts, from_mapping(values, "test"), tmp_path, TwoTower).model
    vectors = model.vectors_from_features(data.catalogue.take(cold).columns()).numpy()
    queries = model.last_query_vectors(tf.constant(pad_histories(parts.train, 20))).numpy()[:, 0]
    k, recalls = len(cold) // 10, []
    best = np.argsort(-queries @ vectors.T, axis=1)[:, :k]
    for user in range(len(data.user_ids)):
        taken = np.intersect1d(data.items[data.users == user], cold)
        if len(taken):
            recalls.append(np.isin(taken, cold[best[user]]).mean())
    assert len(recalls) > 100
    assert np.mean(recalls) > 2 * k / len(cold)
