"""An ensemble is the sum of its members, and a SparCode model like any other."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import (
    MEMORY,
    NUM_ITEMS,
    add_event_lists,
    random_batch,
    random_sequences,
    small_config,
    small_ensemble,
    walks_split,
)
from trainer import task
from trainer.ensemble import Ensemble, put_together
from trainer.late_interaction import LateInteraction
from trainer.model import SparCode
from trainer.two_tower import TwoTower
from trainer.windows import pad_histories

WINDOWS = tf.constant(pad_histories([*random_sequences(6, seed=3), np.zeros(0, np.int32)], 6))


@pytest.mark.parametrize("kind", [SparCode, TwoTower, LateInteraction])
def test_scores_are_the_sum_of_the_members(kind):
    model = small_ensemble(small_config(), kind)
    expected = sum(member.catalogue_scores(WINDOWS).numpy().astype(np.float64) for member in model.members)
    np.testing.assert_allclose(model.catalogue_scores(WINDOWS), expected, rtol=1e-5)
    assert not np.allclose(*(member.catalogue_scores(WINDOWS) for member in model.members))


def test_an_ensemble_of_one_is_that_one():
    member = small_ensemble(small_config()).members[0]
    assert put_together([member]) is member


def test_two_towers_end_to_end_are_one_two_tower_model():
    model = small_ensemble(small_config(), TwoTower)
    queries, items, biases = [], [], 0
    for member in model.members:
        queries.append(member.last_query_vectors(WINDOWS)[:, 0].numpy())
        items.append(member.item_vectors(tf.range(NUM_ITEMS)).numpy())
        biases = biases + member.item_bias.numpy()
    products = np.concatenate(queries, 1) @ np.concatenate(items, 1).T / model.config.scorer.temperature
    np.testing.assert_allclose(model.catalogue_scores(WINDOWS), products + biases, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("structure", ["residual", "separate", "product"])
def test_keys_of_any_order_are_scored_by_their_member(structure):
    model = small_ensemble(small_config(structure))
    size = model.members[0].code_space.size
    assert model.code_space.size == 2 * size
    keys = np.random.default_rng(0).permutation(2 * size)
    items = np.array([4, 0, 17], np.int32)
    found = model.score_codes(tf.constant(keys), tf.constant(items)) + model.bias
    for place, key in enumerate(keys):
        member = model.members[key // size]
        expected = member.score_codes(tf.constant([key % size], tf.int64), tf.constant(items))[0] + member.bias
        np.testing.assert_allclose(found[place], expected, rtol=1e-4, atol=1e-4)
    assert model.score_codes(tf.zeros([0], tf.int64), tf.constant(items)).shape == (0, 3)


def test_one_memory_stands_beside_all_members():
    model = small_ensemble(small_config(memory=MEMORY))
    tokens = model.catalogue_scores(WINDOWS).numpy()
    add_event_lists(model)
    memory = model.event_lists.catalogue_scores(WINDOWS).numpy()
    assert memory.max() > 0
    np.testing.assert_allclose(model.catalogue_scores(WINDOWS), tokens + memory, rtol=1e-5)


def test_a_teacher_of_several_members_teaches_their_mean():
    model = small_ensemble(small_config("none"))
    batch = random_batch(model.members[0])
    batch = batch._replace(windows=tf.pad(WINDOWS, [[0, 0], [0, 1]]), places=tf.repeat([[0, 5]], 9, axis=0))
    batch = batch._replace(places=tf.cast(batch.places, tf.int64))
    found = model.scores_of(batch)
    for name in ("positive", "negative"):
        parts = [getattr(member.scores_of(batch), name).numpy() for member in model.members]
        np.testing.assert_allclose(getattr(found, name), np.mean(parts, axis=0), rtol=1e-5)


@pytest.mark.long
def test_training_gives_members_of_different_seeds_and_takes_up_where_it_stopped(tmp_path):
    config = small_config(memory=MEMORY, training={"num_members": 2, "epochs": 2})
    trained = task.train(walks_split(), config, tmp_path)
    assert len(trained.results) == 2
    assert isinstance(trained.model, Ensemble)
    seeds = [member.config.training.seed for member in trained.model.members]
    assert seeds == [0, 1000]
    first, second = (member.item_embeddings.numpy() for member in trained.model.members)
    assert not np.allclose(first, second)
    alone = dataclasses.replace(config, training=dataclasses.replace(config.training, num_members=1))
    np.testing.assert_array_equal(task.train(walks_split(), alone, tmp_path / "alone").model.item_embeddings, first)
    again = task.train(walks_split(), config, tmp_path)
    assert (again.results, again.score) == (trained.results, trained.score)


def test_a_member_starts_from_the_member_of_its_number(tmp_path):
    two = {"num_members": 2, "epochs": 1}
    old = task.train(walks_split(), small_config(training=two), tmp_path / "old", TwoTower).model
    training = {**two, "warm_start": str(tmp_path / "old"), "learning_rate": 1e-12}
    new = task.train(walks_split(), small_config(training=training), tmp_path / "new").model
    for before, after in zip(old.members, new.members, strict=True):
        np.testing.assert_allclose(before.item_embeddings, after.item_embeddings, atol=1e-6)
