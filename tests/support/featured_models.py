"""A small SparCode model whose queries have features, exported as a trained one is."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tests.support.models import add_event_lists, item_counts, random_sequences, small_config
from trainer.data.features import FeatureColumns
from trainer.export import export
from trainer.model import SparCode
from trainer.training import compile_model

NUM_ITEMS = 30
EVENTS = {"rating": "number", "device": "category", "tags": "multi_category", "image": "vector"}
USERS = {"job": "text", "likes": "multi_category"}
CATALOGUE = {
    "item_id": [f"item {row}" for row in range(NUM_ITEMS)],
    "title": [f"Film {row}" for row in range(NUM_ITEMS)],
    "genres": [["Drama", "Comedy"][: row % 3] for row in range(NUM_ITEMS)],
}


def columns() -> FeatureColumns:
    """Values of 12 events and 4 users; some are missing."""
    numbers = range(12)
    vectors = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    return FeatureColumns(
        events={
            "rating": pa.array([None if number % 5 == 3 else number / 3 for number in numbers], pa.float32()),
            "device": pa.array([("phone", "tablet", None)[number % 3] for number in numbers]),
            "tags": pa.array([["a", "b"][: number % 3] for number in numbers]),
            "image": pa.array(list(vectors), pa.list_(pa.float32())),
        },
        users={"job": pa.array(["cook", "clerk", "cook", None]), "likes": pa.array([["x"], [], ["x", "y"], None])},
    )


def featured_model(seed: int = 1) -> SparCode:
    """A model with random weights and codebooks, event lists, and every kind of feature of events and users."""
    places = {"events": EVENTS, "users": USERS}
    declared = {
        place: [{"name": name, "kind": kind} for name, kind in features.items()] for place, features in places.items()
    }
    config = small_config(memory={"num_events": 4}, features=declared)
    tf.keras.utils.set_random_seed(seed)
    model = SparCode(config, item_counts(random_sequences()), columns=columns())
    compile_model(model)
    shape = tuple(model.quantizer.codebooks.shape)
    books = np.random.default_rng(seed).normal(size=shape, scale=0.4).astype(np.float32)
    model.quantizer.activate(books, np.ones(shape[:3], np.float32))
    add_event_lists(model)
    return model


def write_featured_export(directory: pathlib.Path, histories: Sequence[np.ndarray] = ()) -> pathlib.Path:
    """Writes the export of `featured_model` and returns its directory."""
    return export(featured_model(), CATALOGUE, list(histories), directory)


def random_features(histories: Sequence[Sequence[str]], width: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs for a batch of histories that are padded to `width`, as the exported query model takes them."""
    rng = np.random.default_rng(seed)
    size = len(histories)

    def strings(values: Sequence[str], *shape: int) -> np.ndarray:
        return rng.choice(np.array([*values, ""], object), (size, *shape))

    return {
        "rating": rng.choice(np.float32([0, 1, 3.5, np.nan]), (size, width)),
        "device": strings(["phone", "tablet", "unknown"], width),
        "tags": strings(["a", "b"], width, 2),
        "image": rng.normal(size=(size, width, 3)).astype(np.float32),
        "job": strings(["cook", "clerk"]),
        "likes": strings(["x", "y"], 2),
    }
