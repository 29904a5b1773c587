"""One step of training: what it moves, and that every tokenizer, structure and scorer takes it."""

import typing

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import NUM_ITEMS, random_windows, small_config, small_model
from trainer.config import ScorerConfig, TokenizerConfig
from trainer.late_interaction import LateInteraction
from trainer.two_tower import TwoTower

STRUCTURES = ("residual", "separate", "product", "none")
TOKENIZERS = typing.get_args(typing.get_type_hints(TokenizerConfig)["kind"])
SCORERS = typing.get_args(typing.get_type_hints(ScorerConfig)["kind"])


EVERYTHING = {"train_encoder": True}


def assert_every_weight_moves(model) -> None:
    before = [variable.numpy() for variable in model.trainable_variables]
    model.train_step(tf.constant(random_windows(12)))
    assert int(model.step) == 1
    for old, variable in zip(before, model.trainable_variables, strict=True):
        assert np.isfinite(variable).all(), variable.name
        assert (old != variable.numpy()).any(), variable.name


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_tokenizer_trains_with_every_structure(kind, structure):
    model = small_model(small_config(structure, tokenizer={"kind": kind}, quantizer=EVERYTHING))
    assert_every_weight_moves(model)
    assert np.isfinite(model.catalogue_scores(tf.constant(random_windows()[:, 1:]))).all()


@pytest.mark.parametrize("kind", SCORERS)
@pytest.mark.parametrize("structure", ["product", "none"])
def test_every_scorer_trains_by_code_and_by_token(kind, structure):
    assert_every_weight_moves(small_model(small_config(structure, scorer={"kind": kind}, quantizer=EVERYTHING)))


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("active", [True, False])
def test_without_inner_product_the_interaction_carries_the_gradient(structure, active):
    # From 0, so that some sums are cut off: where none is, the bias adds the same to all items.
    scorer = {"kind": "hybrid", "inner_product": False, "initial_bias": 0.0}
    config = small_config(structure, scorer=scorer, quantizer=EVERYTHING)
    assert_every_weight_moves(small_model(config, active=active))


@pytest.mark.parametrize("kind", [TwoTower, LateInteraction])
def test_the_baselines_train(kind):
    assert_every_weight_moves(small_model(small_config(), kind))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_without_codes_there_is_no_interaction_by_code(structure):
    """In the warm-up the interaction's weights stay, and so do the codebooks."""
    model = small_model(small_config(structure), active=False)
    before = [variable.numpy() for variable in model.scorer.weights + model.quantizer.weights]
    model.train_step(tf.constant(random_windows(12)))
    moved = [
        bool((old != variable.numpy()).any())
        for old, variable in zip(before, model.scorer.weights + model.quantizer.weights, strict=True)
    ]
    scorers = len(model.scorer.weights)
    assert moved == [structure == "none"] * scorers + [False] * (len(moved) - scorers)


@pytest.mark.parametrize("structure", ["residual", "product"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_once_there_are_codes_only_the_scorer_learns(structure, weight_decay):
    model = small_model(small_config(structure, training={"weight_decay": weight_decay}), active=False)
    windows = tf.constant(random_windows(12))
    for _ in range(3):  # Adam has averages of gradients of everything by then
        model.train_step(windows)
    model.quantizer.activate(model.quantizer.codebooks.numpy(), model.quantizer.counts.numpy())
    queries, rows = model.last_query_vectors(windows[:, :-1]), tf.zeros([12, 1], tf.int32) + tf.range(NUM_ITEMS)
    products = model.scorer.linear_own(queries, model.item_vectors(rows), model.item_biases(rows))
    before = {id(variable): variable.numpy() for variable in model.trainable_variables}
    for _ in range(2):
        model.train_step(windows)
    scorer = {id(variable) for variable in model.scorer.trainable_variables}
    for variable in model.trainable_variables:
        assert (before[id(variable)] != variable.numpy()).any() == (id(variable) in scorer), variable.name
    assert scorer
    np.testing.assert_array_equal(
        products, model.scorer.linear_own(queries, model.item_vectors(rows), model.item_biases(rows))
    )


@pytest.mark.parametrize("structure", ["residual", "separate", "product"])
def test_codebooks_move_by_averages(structure):
    model = small_model(small_config(structure, quantizer={"revive_fraction": 0.0}))
    windows = tf.constant(random_windows())
    quantized = model._loss(model._batch(windows, training=True))[1]
    counts, books = model.quantizer.counts.numpy(), model.quantizer.codebooks.numpy()
    model.train_step(windows)
    assert all(variable is not model.quantizer.codebooks for variable in model.trainable_variables)
    assert (model.quantizer.codebooks.numpy() != books).any()
    per_token = quantized.codes.shape[0] * quantized.codes.shape[1] / model.quantizer.config.num_slots
    expected = 0.99 * counts.sum(-1) + 0.01 * per_token
    np.testing.assert_allclose(model.quantizer.counts.numpy().sum(-1), expected, rtol=1e-5)


def test_weight_decay_shrinks_what_no_gradient_reaches():
    config = small_config(
        loss={"uniform_negatives": 0}, training={"weight_decay": 0.1, "warmup_steps": 0, "learning_rate": 0.01}
    )
    model = small_model(config, active=False)
    before = model.item_embeddings.numpy()
    model.train_step(tf.constant([[-1, 0, 1, 2]]))
    np.testing.assert_allclose(model.item_embeddings.numpy()[3:NUM_ITEMS], before[3:NUM_ITEMS] * 0.999, rtol=1e-6)
    assert (model.item_embeddings.numpy()[:3] != before[:3] * np.float32(0.999)).all()


def test_shorter_windows_train_alike():
    """Padding on the left is cut from a batch: neither loss nor gradient sees it."""
    config = small_config(tokenizer={"dropout": 0.0, "event_dropout": 0.0}, loss={"kind": "full_softmax"})
    model = small_model(config)
    windows = np.random.default_rng(0).permutation(NUM_ITEMS)[:12].reshape(3, 4).astype(np.int32)
    padded = np.pad(windows, [(0, 0), (3, 0)], constant_values=-1)
    short = np.pad(windows, [(0, 0), (1, 0)], constant_values=-1)
    losses = [float(model.compute_loss(tf.constant(batch), training=True)) for batch in (padded, short)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
