"""A small model whose queries bring features of every kind, of events and of users."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from trainer.config import Config, from_mapping
from trainer.data.features import FeatureColumns
from trainer.data.histories import Histories
from trainer.model import SparCode
from trainer.training import compile_model

ITEMS, EVENTS, USERS = 20, 30, 4
CATALOGUE = {"item_id": pa.array([f"item {row}" for row in range(ITEMS)])}
_RNG = np.random.default_rng(0)


def _vectors(count: int) -> pa.Array:
    return pa.array(list(_RNG.normal(size=(count, 3)).astype(np.float32)), pa.list_(pa.float32()))


COLUMNS = FeatureColumns(
    events={
        "rating": pa.array([None if number % 7 == 3 else number / 3 for number in range(EVENTS)], pa.float32()),
        "device": pa.array([("phone", "tablet", None)[number % 3] for number in range(EVENTS)]),
        "tags": pa.array([["a", "b"][: number % 3] for number in range(EVENTS)]),
        "image": _vectors(EVENTS),
        "review": pa.array([("good film", "too long", None)[number % 3] for number in range(EVENTS)]),
    },
    users={
        "job": pa.array(["cook", "clerk", "cook", None]),
        "likes": pa.array([["x"], [], ["x", "y"], None]),
        "region": pa.array([3, 5, None, 3], pa.int8()),
        "age": pa.array([30.0, None, 41.0, 70.0]),
        "face": _vectors(USERS),
    },
    event_counts=np.repeat([1, 0], [20, EVENTS - 20]),
)
DECLARED = {
    "events": [
        {"name": "rating", "kind": "number"},
        {"name": "device", "kind": "category"},
        {"name": "tags", "kind": "multi_category"},
        {"name": "image", "kind": "vector"},
        {"name": "review", "kind": "text", "hash_buckets": 32},
    ],
    "users": [
        {"name": "job", "kind": "text", "hash_buckets": 32},
        {"name": "likes", "kind": "multi_category"},
        {"name": "region", "kind": "category"},
        {"name": "age", "kind": "number", "bins": 2},
        {"name": "face", "kind": "vector"},
    ],
}
HISTORIES = Histories(
    [np.array([3, 1, 4, 8, 5, 2, 7]), np.array([2]), np.zeros(0, int), np.array([6, 0])],
    [np.array([0, 4, 5, 11, 25, 20, 29]), np.array([3]), np.zeros(0, int), np.array([17, 2])],
    np.array([2, 0, 1, 3]),
)


def configuration(declared=DECLARED, **quantizer: Any) -> Config:
    values = {
        "data": {"max_history": 5},
        "tokenizer": {"dim": 8},
        "quantizer": {"num_query_tokens": 2, "num_codewords": 4} | quantizer,
        "features": declared,
    }
    return from_mapping(values, "test")


def model_of(declared=DECLARED, active: bool = True, **quantizer: Any) -> SparCode:
    """A model with random weights; its codebooks are at random places when `active`."""
    tf.keras.utils.set_random_seed(1)
    model = SparCode(configuration(declared, **quantizer), np.ones(ITEMS, np.int64), columns=COLUMNS)
    compile_model(model)
    if active:
        shape = model.quantizer.codebooks.shape
        books = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        model.quantizer.activate(books, np.ones(shape[:3], np.float32))
    return model


def random_queries(count: int, seed: int) -> Histories:
    """Histories of up to 9 events, with events and users some of whose values are missing."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 10, count)
    return Histories(
        [rng.permutation(ITEMS)[:length] for length in lengths],
        [rng.integers(0, EVENTS, length) for length in lengths],
        rng.integers(0, USERS, count),
    )


def values_of(place: str, name: str, key: int) -> Any:
    """The value of a feature by its key, None where it is missing: what an export has in its queries."""
    value = getattr(COLUMNS, place)[name][key].as_py()
    return str(value) if name == "region" and value is not None else value
