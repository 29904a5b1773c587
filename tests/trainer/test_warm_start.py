"""A run that starts from another one's weights, whose catalogue may have grown and changed its order."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from protos.errors import UserError
from tests.support.models import NUM_ITEMS, small_config, walks_split
from trainer import task
from trainer.config import Config
from trainer.data.interactions import Items
from trainer.data.splits import Split
from trainer.model import SparCode
from trainer.two_tower import TwoTower
from trainer.warm_start import warm_start

NEW_IDS = ("new-0", *(f"item-{row}" for row in reversed(range(3, NUM_ITEMS))), "new-1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trained runs by kind: (model with its best weights, job directory)."""
    runs = {}
    for kind in (TwoTower, SparCode):
        job_dir = tmp_path_factory.mktemp(kind.__name__)
        runs[kind] = task.train(walks_split(), small_config(training={"epochs": 3}), job_dir, kind).model, job_dir
    return runs


def grown_model(config: Config, kind=SparCode):
    """A model of the catalogue NEW_IDS; built only as far as its constructor builds it."""
    tf.keras.utils.set_random_seed(config.training.seed)
    return kind(config, np.ones(len(NEW_IDS)))


OTHER = small_config(training={"seed": 9})


@pytest.mark.parametrize("old_kind", [TwoTower, SparCode])
@pytest.mark.parametrize("new_kind", [TwoTower, SparCode])
def test_items_are_taken_over_by_id_and_new_ones_keep_their_start(trained, old_kind, new_kind):
    old, job_dir = trained[old_kind]
    model = grown_model(OTHER, new_kind)
    start = model.item_embeddings.numpy()
    assert warm_start(model, NEW_IDS, job_dir) == NUM_ITEMS - 3
    for row, item in enumerate(NEW_IDS):
        known = item.startswith("item-")
        old_row = int(item.removeprefix("item-")) if known else -1
        expected = old.item_embeddings[old_row] if known else start[row]
        np.testing.assert_array_equal(model.item_embeddings[row], expected)
        assert float(model.item_bias[row]) == (float(old.item_bias[old_row]) if known else 0.0)
    np.testing.assert_array_equal(model.item_embeddings[len(NEW_IDS)], old.item_embeddings[NUM_ITEMS])
    history = [3, 9, 4]
    vectors = [
        m.last_query_vectors(tf.constant([[ids.index(f"item-{row}") for row in history]])).numpy()
        for m, ids in ((model, NEW_IDS), (old, [f"item-{row}" for row in range(NUM_ITEMS)]))
    ]
    np.testing.assert_allclose(*vectors, rtol=1e-5, atol=1e-6)


def test_the_scorer_is_taken_over_and_codes_start_anew(trained):
    old, job_dir = trained[SparCode]
    assert bool(old.quantizer.active)
    model = grown_model(OTHER)
    warm_start(model, NEW_IDS, job_dir)
    for left, right in zip(model.scorer.weights, old.scorer.weights, strict=True):
        np.testing.assert_array_equal(left, right)
    assert float(model.bias) == float(old.bias) != OTHER.scorer.initial_bias
    assert not bool(model.quantizer.active)
    assert int(model.step) == 0


def test_the_bias_is_taken_over_without_an_interaction_too(tmp_path):
    config = small_config(scorer={"kind": "none"}, training={"epochs": 2})
    old = task.train(walks_split(), config, tmp_path).model
    model = grown_model(config)
    warm_start(model, NEW_IDS, tmp_path)
    assert float(model.bias) == float(old.bias) != config.scorer.initial_bias


@pytest.mark.parametrize(
    ("sections", "part"),
    [
        ({"tokenizer": {"dim": 16}}, "tokenizer and item_embeddings and item_bias"),
        ({"data": {"max_history": 9}}, "tokenizer and item_embeddings and item_bias"),
        ({"tokenizer": {"kind": "gru"}}, "tokenizer and item_embeddings and item_bias"),
        ({"tokenizer": {"num_blocks": 2}}, "tokenizer and item_embeddings and item_bias"),
        ({"scorer": {"hidden": 5}}, "scorer and bias"),
        ({"scorer": {"kind": "dnn"}}, "scorer and bias"),
        ({"quantizer": {"num_query_tokens": 4}}, "scorer and bias"),
    ],
)
def test_what_does_not_fit_is_named(trained, sections, part):
    with pytest.raises(UserError, match=rf"training.warm_start .*: its {part} do not fit this configuration"):
        warm_start(grown_model(small_config(**sections)), NEW_IDS, trained[SparCode][1])


def test_a_run_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"training.warm_start .*nowhere: no trained run there"):
        warm_start(grown_model(OTHER), NEW_IDS, tmp_path / "nowhere")


def grown_split() -> Split:
    split = walks_split(users=20, seed=4, num_items=len(NEW_IDS))
    catalogue = Items(NEW_IDS, NEW_IDS, ((),) * len(NEW_IDS))
    return dataclasses.replace(split, catalogue=catalogue)


def test_a_warm_started_run_begins_where_the_other_ended_and_resumes(trained, tmp_path, capsys):
    old, job_dir = trained[TwoTower]
    training = {"warm_start": str(job_dir), "epochs": 2, "learning_rate": 1e-12}
    config = small_config(training=training)
    first = task.train(grown_split(), config, tmp_path)
    assert f"warm start from {job_dir}: 27 of 29 items known" in capsys.readouterr().out
    row = NEW_IDS.index("item-3")
    np.testing.assert_allclose(first.model.item_embeddings[row], old.item_embeddings[3], atol=1e-6)
    again = task.train(grown_split(), config, tmp_path)
    assert again.results == first.results
    for left, right in zip(first.model.variables, again.model.variables, strict=True):
        np.testing.assert_array_equal(left, right)
