"""The softmax, sampled and full, its negatives, and the pull towards zero scores."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import NUM_ITEMS, item_counts, random_sequences, random_windows, small_config, small_model
from trainer.config import LossConfig
from trainer.model import SparCode
from trainer.tasks import SampledSoftmax
from trainer.two_tower import TwoTower


@pytest.mark.parametrize("log_q", [True, False])
@pytest.mark.parametrize("hard", [0, 1, 3, 6, 99])
def test_sampled_softmax_equals_the_formula(log_q, hard):
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(size=4), rng.normal(size=(4, 6))
    hits = rng.random((4, 6)) < 0.2
    probability, weight = rng.uniform(0.01, 0.5, 6), np.array([1.0, 0.0, 2.0, 0.5])
    losses = []
    for p in range(4):
        logits = [negative[p, s] - (math.log(6 * probability[s]) if log_q else 0.0) for s in range(6) if not hits[p, s]]
        kept = sorted(logits, reverse=True)[: hard or None]
        losses.append(math.log(sum(map(math.exp, [positive[p], *kept]))) - positive[p])
    found = SampledSoftmax(LossConfig(log_q=log_q, num_hard_negatives=hard))(
        tf.constant(positive, tf.float32),
        tf.constant(negative, tf.float32),
        accidental_hits=tf.constant(hits),
        sampling_probability=tf.constant(probability, tf.float32),
        sample_weight=tf.constant(weight, tf.float32),
    )
    assert float(found) == pytest.approx(np.dot(losses, weight) / weight.sum(), rel=1e-5)


def test_of_no_queries_the_loss_is_zero():
    nothing = SampledSoftmax(LossConfig())(
        tf.zeros([0]),
        tf.zeros([0, 3]),
        accidental_hits=tf.zeros([0, 3], tf.bool),
        sampling_probability=tf.fill([3], 0.1),
        sample_weight=tf.zeros([0]),
    )
    assert float(nothing) == 0.0


@pytest.mark.parametrize("kind", [SparCode, TwoTower])
@pytest.mark.parametrize("log_q", [True, False])
def test_the_full_softmax_is_over_every_item_once(kind, log_q):
    # A mean does not depend on the column an event stands in, which training and ranking count from other ends.
    config = small_config(
        tokenizer={"kind": "mean_pooling"},
        loss={"kind": "full_softmax", "log_q": log_q},
        quantizer={"commit_weight": 0.0},
    )
    model = small_model(config, kind)
    windows = random_windows()
    losses = []
    for window in windows:
        for t in range(len(window) - 1):
            if window[t + 1] < 0:
                continue
            history = tf.constant(window[None, : t + 1])
            scores = model.catalogue_scores(history).numpy()[0].astype(np.float64)
            losses.append(math.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[window[t + 1]])
    assert float(model.compute_loss(tf.constant(windows))) == pytest.approx(np.mean(losses), rel=1e-4)


def popularity() -> np.ndarray:
    counts = item_counts(random_sequences())
    return counts / counts.sum()


@pytest.mark.parametrize(("in_batch", "uniform", "popular"), [(2000, 2000, 0), (0, 1000, 3000), (500, 0, 1500)])
def test_negatives_are_a_mix_of_proposals_with_its_probability(in_batch, uniform, popular):
    loss = {"in_batch_negatives": in_batch, "uniform_negatives": uniform, "popularity_negatives": popular}
    model = small_model(small_config(loss=loss), TwoTower)
    positives, step = tf.constant([3, 3, 5], tf.int32), tf.constant(4, tf.int64)
    rows, probability = (values.numpy() for values in model.sample_negatives(positives, step))
    drawn = np.split(rows, [in_batch, in_batch + uniform])
    assert set(drawn[0]) == ({3, 5} if in_batch else set())
    for found, share in ((drawn[1], np.full(NUM_ITEMS, 1 / NUM_ITEMS)), (drawn[2], popularity())):
        counts = np.bincount(found, minlength=NUM_ITEMS)
        assert (np.abs(counts - len(found) * share) <= 5 * np.sqrt(len(found) * share)).all()
    share = uniform / (in_batch + uniform + popular)
    np.testing.assert_allclose(probability, (1 - share) * popularity()[rows] + share / NUM_ITEMS, rtol=1e-5)
    np.testing.assert_array_equal(rows, model.sample_negatives(positives, step).rows)
    assert rows.tolist() != model.sample_negatives(positives, step + 1).rows.numpy().tolist()


def test_popularity_never_draws_an_item_without_events():
    counts = np.array([0, 5, 0, 1, 0])
    model = TwoTower(small_config(loss={"popularity_negatives": 500, "uniform_negatives": 0}), counts)
    rows = model.sample_negatives(tf.constant([1], tf.int32), tf.constant(0, tf.int64)).rows
    assert set(rows.numpy()[8:]) == {1, 3}


def test_sparsity_trains_scores_to_zero():
    zeros = []
    for weight in (0.0, 5.0):
        config = small_config(loss={"sparsity_weight": weight}, training={"learning_rate": 0.02, "warmup_steps": 0})
        model = small_model(config)
        step, windows = tf.function(model.train_step), tf.constant(random_windows(30))
        for _ in range(30):
            step(windows)
        quantized = model.quantize(model.last_query_vectors(windows[:, 1:]))
        rows = tf.tile(tf.range(NUM_ITEMS)[None], [30, 1])
        contributions = model._own_contributions(quantized, model.item_vectors(rows), model.item_biases(rows))
        zeros.append(float(tf.reduce_mean(tf.cast(contributions == 0, tf.float32))))
    assert zeros[1] > zeros[0] + 0.1


@pytest.mark.parametrize("structure", ["residual", "product", "none"])
def test_sparsity_weighs_the_mean_contribution(structure):
    losses = [
        float(small_model(small_config(structure, loss={"sparsity_weight": weight})).compute_loss(random_windows()))
        for weight in (0.0, 1.0, 2.0)
    ]
    assert losses[1] > losses[0]
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-3)
