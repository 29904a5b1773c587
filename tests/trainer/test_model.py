"""The model: one scoring function, the loss, the training step."""

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import NUM_ITEMS, random_sequences, small_config, small_model
from trainer.config import LossConfig
from trainer.model import SparCode
from trainer.tasks import SampledSoftmax
from trainer.two_tower import TwoTower
from trainer.windows import training_windows

STRUCTURES = pytest.mark.parametrize("structure", ["residual", "product"])


@STRUCTURES
@pytest.mark.parametrize("hidden", [0, 4])
def test_training_scores_equal_the_scores_the_index_is_built_from(structure, hidden):
    model = small_model(small_config(structure, scorer={"hidden": hidden}))
    rng = np.random.default_rng(2)
    queries = tf.math.l2_normalize(tf.constant(rng.normal(size=(9, 8)).astype(np.float32)), -1)
    positives = tf.constant(rng.integers(0, NUM_ITEMS, 9), tf.int32)
    negatives = tf.constant(rng.integers(0, NUM_ITEMS, 11), tf.int32)
    positive, negative, _, quantized = model.batch_scores(queries, positives, negatives)
    everything = np.zeros((9, NUM_ITEMS), np.float64)
    for query, keys in enumerate(quantized.keys.numpy()):
        for key in keys:
            row = model.score_codes(np.array([key]), tf.range(NUM_ITEMS)).numpy()[0].astype(np.float64)
            everything[query] += np.maximum(row + float(model.bias), 0)
    np.testing.assert_allclose(positive, everything[np.arange(9), positives], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(negative, everything[:, negatives.numpy()], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.table_scores(quantized.keys), everything, rtol=1e-5, atol=1e-5)


def test_warm_up_scores_are_those_of_the_unquantised_query():
    model = small_model(small_config(), active=False)
    queries = tf.math.l2_normalize(tf.random.stateless_normal([5, 8], [1, 2]), -1)
    items = tf.range(NUM_ITEMS)
    _, scores, extra, _ = model.batch_scores(queries, items[:5], items)
    vectors = tf.math.l2_normalize(model.item_embeddings[:NUM_ITEMS], -1)
    first = queries @ tf.transpose(vectors) / model.config.scorer.temperature + model.item_bias
    np.testing.assert_allclose(scores, tf.nn.relu(first + model.bias) + 2 * model.bias, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(extra, np.zeros(5))


@pytest.mark.parametrize("log_q", [True, False])
def test_sampled_softmax_equals_the_formula(log_q):
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(size=4), rng.normal(size=(4, 6))
    hits = rng.random((4, 6)) < 0.2
    probability, weight = rng.uniform(0.01, 0.5, 6), np.array([1.0, 0.0, 2.0, 0.5])
    losses = []
    for p in range(4):
        total = np.exp(positive[p])
        for s in range(6):
            if not hits[p, s]:
                total += np.exp(negative[p, s]) / (6 * probability[s] if log_q else 1.0)
        losses.append(np.log(total) - positive[p])
    found = SampledSoftmax(LossConfig(log_q=log_q))(
        tf.constant(positive, tf.float32),
        tf.constant(negative, tf.float32),
        accidental_hits=tf.constant(hits),
        sampling_probability=tf.constant(probability, tf.float32),
        sample_weight=tf.constant(weight, tf.float32),
    )
    assert float(found) == pytest.approx(np.dot(losses, weight) / weight.sum(), rel=1e-5)


def test_negatives_come_from_the_batch_and_the_catalogue_with_their_probability():
    model = small_model(small_config(loss={"in_batch_negatives": 2000, "uniform_negatives": 2000}))
    positives = tf.constant([3, 3, 5], tf.int32)
    rows, probability = model.sample_negatives(positives, tf.constant(4, tf.int64))
    assert set(rows[:2000].numpy()) == {3, 5}
    assert len(set(rows[2000:].numpy())) == NUM_ITEMS
    popularity = model._popularity
    np.testing.assert_allclose(probability, 0.5 * popularity[rows] + 0.5 / NUM_ITEMS, rtol=1e-6)
    again, _ = model.sample_negatives(positives, tf.constant(4, tf.int64))
    np.testing.assert_array_equal(rows, again)


@STRUCTURES
@pytest.mark.parametrize("kind", [SparCode, TwoTower])
def test_evaluation_changes_no_state(structure, kind):
    model = small_model(small_config(structure), kind)
    windows = training_windows(random_sequences(), 6)
    before = [variable.numpy() for variable in model.variables]
    model.compute_loss(tf.constant(windows[:5]), training=False)
    model.catalogue_scores(tf.constant(windows[:5, 1:]))
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


@STRUCTURES
def test_train_step_moves_weights_by_gradient_and_codebooks_by_averages(structure):
    model = small_model(small_config(structure, quantizer={"revive_fraction": 0.0}))
    windows = tf.constant(training_windows(random_sequences(), 6)[:8])
    _, quantized = model._loss_and_codes(windows, training=True)
    counts = model.quantizer.counts.numpy()
    books = model.quantizer.codebooks.numpy()
    weights = [variable.numpy() for variable in model.trainable_variables]
    model.train_step(windows)
    assert all(variable is not model.quantizer.codebooks for variable in model.trainable_variables)
    assert int(model.step) == 1
    assert (model.quantizer.codebooks.numpy() != books).any()
    per_token = quantized.codes.shape[0] * quantized.codes.shape[1] / model.quantizer.config.num_slots
    expected = 0.99 * counts.sum(-1) + 0.01 * per_token
    np.testing.assert_allclose(model.quantizer.counts.numpy().sum(-1), expected, rtol=1e-5)
    moved = [np.abs(old - new.numpy()).max() > 0 for old, new in zip(weights, model.trainable_variables, strict=True)]
    assert all(moved)


@STRUCTURES
@pytest.mark.parametrize("kind", [SparCode, TwoTower])
def test_saving_and_loading_weights_changes_no_score(structure, kind, tmp_path):
    model = small_model(small_config(structure), kind)
    windows = tf.constant(training_windows(random_sequences(), 6)[:5, 1:])
    tf.train.Checkpoint(model=model).save(str(tmp_path / "weights"))
    other = small_model(small_config(structure, training={"seed": 5}), kind)
    assert not np.array_equal(other.catalogue_scores(windows), model.catalogue_scores(windows))
    tf.train.Checkpoint(model=other).restore(tf.train.latest_checkpoint(str(tmp_path))).assert_consumed()
    np.testing.assert_array_equal(other.catalogue_scores(windows), model.catalogue_scores(windows))
