"""The model: one scoring function in training, evaluation and the index; state that only training changes."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import (
    MEMORY,
    NUM_ITEMS,
    add_event_lists,
    random_batch,
    random_windows,
    small_config,
    small_model,
)
from trainer.config import Config
from trainer.late_interaction import LateInteraction
from trainer.model import SparCode
from trainer.two_tower import TwoTower

CODED = pytest.mark.parametrize("structure", ["residual", "two residuals", "separate", "product"])
EVERY = pytest.mark.parametrize("structure", ["residual", "two residuals", "separate", "product", "none"])
MODELS = pytest.mark.parametrize(
    ("kind", "structure"),
    [
        *((SparCode, structure) for structure in ("residual", "two residuals", "separate", "product", "none")),
        *((kind, "residual") for kind in (TwoTower, LateInteraction)),
    ],
)


def config_of(structure: str, **sections) -> Config:
    if structure == "two residuals":
        sections["quantizer"] = {"num_query_tokens": 4, "num_vectors": 2, **sections.get("quantizer", {})}
        structure = "residual"
    return small_config(structure, **sections)


def assert_close(found, expected) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def one_code_at_a_time(model: SparCode, keys: np.ndarray) -> np.ndarray:
    """f `[P, I]` of code keys `[P, K_u]` from `score_codes`, which the index is built with."""
    everything = np.zeros((len(keys), NUM_ITEMS))
    for query, token in np.ndindex(*keys.shape):
        row = model.score_codes(keys[query, token : token + 1], tf.range(NUM_ITEMS)).numpy()[0]
        everything[query] += np.maximum(row.astype(np.float64) + float(model.bias), 0)
    return everything


@CODED
@pytest.mark.parametrize("scorer", [{"kind": "none"}, {"kind": "hybrid"}, {"kind": "dnn", "inner_product": False}])
def test_training_scores_equal_the_scores_the_index_is_built_from(structure, scorer):
    model = small_model(config_of(structure, scorer=scorer))
    batch = random_batch(model)
    scores = model.batch_scores(batch)
    everything = one_code_at_a_time(model, scores.quantized.keys.numpy())
    assert_close(scores.positive, everything[np.arange(9), batch.positives])
    assert_close(scores.negative, everything[:, batch.negatives.rows.numpy()])
    assert_close(model.table_scores(scores.quantized.keys), everything)


def unit_items(model: SparCode) -> np.ndarray:
    vectors = model.item_embeddings.numpy()[:NUM_ITEMS]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_warm_up_scores_are_those_of_the_unquantised_query():
    model = small_model(small_config(), active=False)
    batch = random_batch(model)
    scores = model.batch_scores(batch)
    first = batch.queries[:, 0] @ unit_items(model).T / model.config.scorer.temperature + model.item_bias
    expected = tf.nn.relu(first + model.bias) + 2 * model.bias
    assert_close(scores.negative, tf.gather(expected, batch.negatives.rows, axis=1))
    assert_close(scores.positive, tf.gather(expected, batch.positives, batch_dims=1))
    assert float(scores.extra) == 0.0


@pytest.mark.parametrize("scorer", [{"kind": "none"}, {"kind": "hybrid"}, {"kind": "fm", "inner_product": False}])
def test_the_model_without_codes_scores_vectors_as_they_are(scorer):
    model = small_model(config_of("none", scorer=scorer))
    batch = random_batch(model)
    scores = model.batch_scores(batch)
    assert scores.quantized is None
    vectors, expected = tf.constant(unit_items(model)), np.zeros((9, NUM_ITEMS))
    for token in range(3):
        queries = batch.queries[:, token]
        found = np.zeros((9, NUM_ITEMS)) + model.item_bias.numpy() / 3
        if model.config.scorer.inner_product:
            found += queries.numpy() @ vectors.numpy().T / model.config.scorer.temperature
        found += model.scorer.interaction_grid(queries, tf.fill([9], token), vectors).numpy()
        expected += np.maximum(found + float(model.bias), 0)
    assert_close(scores.positive, expected[np.arange(9), batch.positives])
    assert_close(scores.negative, expected[:, batch.negatives.rows.numpy()])
    rows = tf.constant(np.tile(np.arange(NUM_ITEMS), (9, 1)), tf.int32)
    assert_close(tf.reduce_sum(model.rescore(batch.queries, model.item_rows(rows)), 1), expected)


@EVERY
@pytest.mark.parametrize("active", [True, False])
def test_catalogue_scores_are_the_training_scores_of_whole_histories_and_of_their_events(structure, active):
    model = small_model(config_of(structure, memory=MEMORY), active=active)
    windows = tf.constant(np.concatenate([random_windows()[:, 1:], np.full((1, 6), -1, np.int32)]))
    batch = random_batch(model)._replace(queries=model.last_query_vectors(windows), positives=tf.zeros([9], tf.int32))
    everything = batch.negatives._replace(rows=tf.range(NUM_ITEMS))
    tokens = model.batch_scores(batch._replace(negatives=everything)).negative
    assert_close(model.catalogue_scores(windows), tokens)
    add_event_lists(model)
    events = model.event_lists.catalogue_scores(windows).numpy()
    assert events[:-1].any()
    assert not events[-1].any()
    assert_close(model.catalogue_scores(windows), tokens + events)


@EVERY
@pytest.mark.parametrize("scorer", [{"kind": "hybrid"}, {"kind": "fm", "inner_product": False}])
def test_rescoring_gives_the_mean_of_the_scores_of_codes_and_of_the_warm_up(structure, scorer):
    model = small_model(config_of(structure, scorer=scorer))
    unquantised = small_model(config_of(structure, scorer=scorer), active=False)
    queries = random_batch(model).queries
    scores = [of._shared_scores(of.quantize(queries), tf.range(NUM_ITEMS))[0] for of in (model, unquantised)]
    expected = np.mean(scores, axis=0)
    rows = np.random.default_rng(1).integers(0, NUM_ITEMS, (9, 5))
    found = model.rescore(model.quantize(queries).tokens, model.item_rows(tf.constant(rows, tf.int32)))
    assert found.shape == (9, model.num_query_tokens, 5)
    assert_close(tf.reduce_sum(found, 1), np.take_along_axis(expected, rows, 1))


@MODELS
def test_evaluation_changes_no_state(kind, structure):
    model = small_model(config_of(structure), kind)
    windows = tf.constant(random_windows(5))
    before = [variable.numpy() for variable in model.variables]
    model.compute_loss(windows, training=False)
    model.catalogue_scores(windows[:, 1:])
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


@MODELS
def test_saving_and_loading_weights_changes_no_score(kind, structure, tmp_path):
    model = small_model(config_of(structure), kind)
    windows = tf.constant(random_windows(5)[:, 1:])
    tf.train.Checkpoint(model=model).save(str(tmp_path / "weights"))
    other = small_model(config_of(structure, training={"seed": 5}), kind)
    assert not np.array_equal(other.catalogue_scores(windows), model.catalogue_scores(windows))
    tf.train.Checkpoint(model=other).restore(tf.train.latest_checkpoint(str(tmp_path))).assert_consumed()
    np.testing.assert_array_equal(other.catalogue_scores(windows), model.catalogue_scores(windows))
