"""A served model is asked with what its queries bring beside histories, and ranks by its answers."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from pipeline.steps import build_index, export_servable, served
from protos.query_inputs import QueryInput
from tests.support.models import small_config
from trainer.data import load, split
from trainer.data.histories import Histories
from trainer.data.interactions import Coded, Events, Interactions, build_interactions
from trainer.data.splits import Split
from trainer.export import export
from trainer.model import SparCode
from trainer.split_data import indexed_queries
from trainer.training import compile_model

INPUTS = (
    QueryInput("stars", "event", "number"),
    QueryInput("tags", "event", "multi_category"),
    QueryInput("image", "event", "vector", 2),
    QueryInput("job", "user", "category"),
)
# Stars are whole numbers here: their sum over a history is the row of the item that the model answers.
STARS = [0, 2, 1, 1, None, 3, 2, 0, 1, 0, 2, 1]


class EchoModel(tf.Module):
    """Answers one item, whose row is the sum of all stars; a second place, not valid, says what was asked."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, "history"),
            tf.TensorSpec([None, None], tf.float32, "stars"),
            tf.TensorSpec([None, None, None], tf.string, "tags"),
            tf.TensorSpec([None, None, 2], tf.float32, "image"),
            tf.TensorSpec([None], tf.string, "job"),
        ]
    )
    def recommend(self, history, stars, tags, image, job):
        known = tf.where(tf.math.is_nan(stars), 0.0, stars)
        item = tf.strings.join(["item ", tf.strings.as_string(tf.cast(tf.reduce_sum(known, 1), tf.int32))])
        first = tf.strings.as_string(image[:, 0, 0], precision=1)
        said = tf.strings.join([history[:, 0], tf.strings.reduce_join(tags[:, 0], 1, separator="+"), first, job], "|")
        batch = tf.shape(history)[0]
        return {
            "item_ids": tf.stack([item, said], 1),
            "scores": tf.tile([[1.0, 0.0]], [batch, 1]),
            "valid": tf.tile([[True, False]], [batch, 1]),
            "codes": tf.zeros([batch, 3, 1], tf.int32),
            "keys": tf.zeros([batch, 4], tf.int64),
            "fallback": tf.tile([[True, False, False, False]], [batch, 1]),
        }


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("echo")
    model = EchoModel()
    tf.saved_model.save(model, str(directory / "1"), {"serving_default": model.recommend})
    extra = directory / "1" / "assets.extra"
    extra.mkdir()
    described = {"query_inputs": [each.as_json() for each in INPUTS]}
    (extra / "manifest.json").write_text(json.dumps({"model": described}))
    return directory


def interactions() -> Interactions:
    """Three users with four events each."""
    features = {
        "stars": pa.array(STARS),
        "tags": pa.array([["old", f"n{event}"][: event % 3] for event in range(12)]),
        "image": pa.array([[float(event), 1.0] for event in range(12)], pa.list_(pa.float32())),
    }
    users, items = [f"u{event // 4}" for event in range(12)], [f"item {event % 6}" for event in range(12)]
    made = build_interactions("made", Events(Coded.of(users), Coded.of(items), np.arange(12), None, features), {})
    return dataclasses.replace(made, user_features={"job": pa.array(["cook", None, "clerk"])})


def expected_row(parts: Split, events: np.ndarray) -> int:
    return parts.catalogue.item_id.index(f"item {sum(STARS[event] or 0 for event in events)}")


def test_a_served_model_sees_what_the_data_knows(base):
    parts = split(interactions())
    histories = parts.known_histories()
    with served(base, parts) as ranker:
        ranked = ranker(histories, 2)
        said = [row[1].decode() for row in ranker.answers(histories)["item_ids"]]
        assert ranker.median_latency_ms(histories) > 0
        assert ranker.unknown_code_rate == pytest.approx(1 / 3)
    assert ranked.tolist() == [[expected_row(parts, events), -1] for events in histories.events]
    first = [events[0] for events in histories.events]
    tags = ["+".join(["old", f"n{event}"][: event % 3]) for event in first]
    jobs = ["cook", "", "clerk"]
    # Two values are the most that an event has here: a shorter list ends in nothing.
    padded = [text if "+" in text else f"{text}+" for text in tags]
    assert said == [
        f"item {event % 6}|{tag}|{event:.1f}|{job}" for event, tag, job in zip(first, padded, jobs, strict=True)
    ]


DATA = "synthetic:users=40,items=50,interactions=900,seed=1"
DECLARED = {
    "events": [{"name": "hour", "kind": "number"}, {"name": "weekday", "kind": "category"}],
    "users": [{"name": "likes", "kind": "multi_category"}, {"name": "joined", "kind": "number"}],
}


def random_model(parts: Split) -> SparCode:
    """A model of generated data that has learnt nothing: its weights and codebooks are random."""
    tf.keras.utils.set_random_seed(1)
    config = small_config(features=DECLARED, quantizer={"num_codewords": 64})
    model = SparCode(config, np.bincount(np.concatenate(parts.train)), columns=parts.columns())
    compile_model(model)
    shape = model.quantizer.codebooks.shape
    books = np.random.default_rng(1).normal(size=shape, scale=0.4).astype(np.float32)
    model.quantizer.activate(books, np.ones(shape[:3], np.float32))
    return model


def test_from_data_to_answers_it_is_the_training_model(tmp_path):
    parts = split(load(DATA))
    model = random_model(parts)
    queries = indexed_queries(parts, model.config)
    export(model, parts.catalogue.columns(), queries, tmp_path / "export")
    quick = ["--score_bits=32", "--quality_queries=0", "--no-progress"]
    build_index(tmp_path / "export", tmp_path / "index", ["--codes=observed", *quick])
    export_servable(tmp_path / "export", tmp_path / "index", tmp_path / "servable", "sparse")
    histories = parts.known_histories()
    with served(tmp_path / "servable", parts) as ranker:
        answers = ranker.answers(histories)
    assert not answers["fallback"].any()
    expected = model.catalogue_scores(tf.constant(model.windows_of(histories))).numpy()
    without = model.catalogue_scores(tf.constant(model.windows_of(Histories.of(histories.rows)))).numpy()
    assert np.abs(expected - without).max() > 0.1  # the features matter
    for query, rows in enumerate(histories.rows):
        unseen = np.sort(np.delete(expected[query], rows))[::-1]
        unseen = unseen[unseen > 0]
        np.testing.assert_allclose(answers["scores"][query][answers["valid"][query]], unseen, rtol=1e-4, atol=1e-4)
