"""Rows that rare items share: context in histories, and nothing else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from tests.support.models import MEMORY, NUM_ITEMS, random_windows, small_config, small_model
from trainer.data.features import FeatureColumns
from trainer.memory import fit_lists
from trainer.ranking import ModelRanker

TAIL = 12
REMOVED = FeatureColumns(items={"removed": pa.array([False] * (NUM_ITEMS - TAIL) + [True] * TAIL)})
LOSSES = [{"in_batch_negatives": 20, "uniform_negatives": 20, "popularity_negatives": 20}, {"kind": "full_softmax"}]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_tail_is_neither_target_nor_negative(loss):
    windows = random_windows(24)
    model = small_model(small_config(loss=loss), columns=REMOVED)
    batch = model._batch(tf.constant(windows), training=True)
    wanted = [row for window in windows for row in window[1:] if 0 <= row < NUM_ITEMS - TAIL]
    assert batch.positives.numpy().tolist() == wanted
    assert len(wanted) < (windows[:, 1:] >= 0).sum()
    negatives = batch.negatives.rows.numpy()
    assert len(set(negatives.tolist())) > 5
    assert negatives.max() < NUM_ITEMS - TAIL
    for shares in model.sample_negatives(tf.range(NUM_ITEMS - TAIL), tf.constant(3, tf.int64)).probability.numpy():
        assert 0 < shares < 1


def test_the_tail_says_something_in_histories():
    model = small_model(small_config(), active=False, columns=REMOVED)  # codes would hide small differences
    scores = model.catalogue_scores(tf.constant([[0, 1], [NUM_ITEMS - 1, 1], [-1, 1]])).numpy()
    assert np.abs(scores[1] - scores[0]).max() > 1e-4
    assert np.abs(scores[1] - scores[2]).max() > 1e-4


def test_the_tail_is_not_ranked_even_where_it_was_seen():
    model = small_model(small_config(), columns=REMOVED)
    model.item_bias.assign(np.arange(NUM_ITEMS) * 10.0)  # the tail has the best scores
    ranked = ModelRanker(model)([np.array([0, NUM_ITEMS - 1]), np.array([5])], NUM_ITEMS)
    assert sorted(ranked[0][ranked[0] >= 0].tolist()) == list(range(1, NUM_ITEMS - TAIL))
    assert sorted(ranked[1][ranked[1] >= 0].tolist()) == [row for row in range(NUM_ITEMS - TAIL) if row != 5]


def test_the_tail_is_not_in_the_item_memory():
    windows, config = random_windows(24), small_config(memory=MEMORY).memory
    lists = fit_lists([windows], NUM_ITEMS, config, NUM_ITEMS - TAIL)
    assert lists.items.shape[0] == NUM_ITEMS
    assert lists.items.max() < NUM_ITEMS - TAIL
    assert (lists.scores[: NUM_ITEMS - TAIL] > 0).any()
    assert not lists.scores[NUM_ITEMS - TAIL :].any()


def test_a_removed_item_among_others_is_no_tail():
    removed = [row in (3, NUM_ITEMS - 1) for row in range(NUM_ITEMS)]
    model = small_model(small_config(), columns=FeatureColumns(items={"removed": pa.array(removed)}))
    assert (model.num_targets, model.tail_buckets) == (NUM_ITEMS - 1, 1)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_of_nothing_but_the_tail_teaches_nothing(loss):
    model = small_model(small_config(loss=loss, quantizer={"commit_weight": 1.0}), columns=REMOVED)
    windows = tf.constant([[-1, NUM_ITEMS - 1, NUM_ITEMS - 2], [-1, -1, NUM_ITEMS - 1]])
    assert float(model.compute_loss(windows)) == 0
    before = model.item_embeddings.numpy()
    tf.function(model.train_step)(windows)
    assert all(np.isfinite(variable.numpy()).all() for variable in model.variables if variable.dtype.is_floating)
    np.testing.assert_array_equal(before, model.item_embeddings)
