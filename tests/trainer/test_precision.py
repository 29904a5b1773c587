"""Mixed precision: the encoder computes in 16 bits while it trains, and nothing else does, ever."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from protos.errors import UserError
from tests.support.models import random_windows, small_config, small_model, walks_split
from trainer import task
from trainer.config import Config
from trainer.evaluation import evaluate
from trainer.ranking import ModelRanker

PRECISIONS = pytest.mark.parametrize("precision", ["float16", "bfloat16"])


def mixed(precision: str, **training) -> Config:
    return small_config(training={"mixed_precision": precision, **training})


@PRECISIONS
def test_only_the_encoder_computes_in_16_bits(precision):
    model, whole = small_model(mixed(precision)), small_model(small_config())
    assert {variable.dtype for variable in model.trainable_variables} == {tf.float32}
    for ours, theirs in zip(model.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    windows = tf.constant(random_windows()[:, 1:])
    found, expected = (each.last_query_vectors(windows) for each in (model, whole))
    assert found.dtype == tf.float32
    assert (found.numpy() != expected.numpy()).any()
    np.testing.assert_allclose(found, expected, atol=3e-2)
    np.testing.assert_array_equal(*(each.item_vectors(tf.range(each.num_items)).numpy() for each in (model, whole)))
    assert tf.keras.mixed_precision.global_policy().name == "float32"


@PRECISIONS
def test_a_step_is_about_that_of_float32(precision):
    still = {"tokenizer": {"dropout": 0.0, "event_dropout": 0.0}, "quantizer": {"train_encoder": True}}
    losses, moved = [], []
    for training in ({}, {"mixed_precision": precision}):
        model = small_model(small_config(training=training, **still), active=False)
        before = [variable.numpy() for variable in model.tokenizer.trainable_variables]
        for _ in range(5):
            loss = model.train_step(tf.constant(random_windows()))["loss"]
        moved.append([(old != new.numpy()).any() for old, new in zip(before, model.tokenizer.variables, strict=True)])
        losses.append(float(loss))
    assert moved[0] == moved[1]
    assert sum(moved[1]) > 10
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


def test_a_step_without_finite_gradients_is_left_out():
    model = small_model(mixed("float16"), active=False)
    model.optimizer._loss_scale._current_loss_scale.assign(1e38)
    before = [variable.numpy() for variable in model.trainable_variables]
    model.train_step(tf.constant(random_windows()))
    for old, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)
    assert float(model.optimizer.loss_scale) == pytest.approx(5e37)


def test_what_is_trained_comes_back_in_float32(tmp_path):
    split = walks_split()
    trained = task.train(split, mixed("bfloat16", epochs=3), tmp_path)
    assert {layer.compute_dtype for layer in trained.model.submodules if hasattr(layer, "compute_dtype")} == {"float32"}
    quality = evaluate(ModelRanker(trained.model), split.queries("validation")).means()
    assert trained.results[0].best_score == pytest.approx(quality["ndcg@50"], abs=0.1)


def test_other_encoders_have_none():
    with pytest.raises(UserError, match=r"training.mixed_precision is 'float16', which tokenizer.kind 'gru'"):
        small_config(tokenizer={"kind": "gru"}, training={"mixed_precision": "float16"})
