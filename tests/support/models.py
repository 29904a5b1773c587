"""Small models and data for tests of the trainer."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from trainer.config import Config, from_mapping
from trainer.data.interactions import Items
from trainer.data.splits import Split
from trainer.ensemble import AnySparCode, put_together
from trainer.layers.event_lists import EventLists
from trainer.memory import fit_lists
from trainer.model import SparCode
from trainer.sequence_model import Batch, Negatives, SequenceModel
from trainer.training import compile_model
from trainer.windows import training_windows

NUM_ITEMS = 30
MEMORY = {"num_events": 4, "half_life": 2.0, "l2": 5.0, "list_length": 8}


def small_config(structure: str = "residual", **sections) -> Config:
    """A configuration that trains in a moment, without memory; `sections` override it field by field."""
    values = {
        "data": {"max_history": 6},
        "tokenizer": {"dim": 8, "dropout": 0.1, "event_dropout": 0.1},
        "quantizer": {
            "structure": structure,
            "num_query_tokens": 3,
            "num_codebooks": 2 if structure in ("product", "separate") else 1,
            "num_codewords": 4,
            "warmup_epochs": 1,
        },
        "scorer": {"num_item_tokens": 2, "product_dim": 3, "hidden": 4, "initial_bias": 2.0},
        "memory": {"num_events": 0},
        "loss": {"in_batch_negatives": 8, "uniform_negatives": 8},
        "training": {"num_members": 1, "epochs": 4, "batch_events": 56, "validate_every": 1, "deterministic": True},
    }
    for section, fields in sections.items():
        values[section] = {**values.get(section, {}), **fields}
    return from_mapping(values, "test")


def random_sequences(count: int = 24, seed: int = 0, longest: int = 15) -> list[np.ndarray]:
    """Sequences of rows without repetition."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(NUM_ITEMS)[: rng.integers(1, longest)].astype(np.int32) for _ in range(count)]


def random_windows(count: int = 8, max_history: int = 6) -> np.ndarray:
    """Training windows of random sequences."""
    return training_windows(random_sequences(), max_history)[:count]


def item_counts(sequences: list[np.ndarray]) -> np.ndarray:
    return np.bincount(np.concatenate(sequences), minlength=NUM_ITEMS)


def small_model(
    config: Config, kind: type[SequenceModel] = SparCode, active: bool = True, **arguments
) -> SequenceModel:
    """A compiled model with random weights everywhere; codebooks at random places when `active`."""
    tf.keras.utils.set_random_seed(config.training.seed)
    model = kind(config, item_counts(random_sequences()), **arguments)
    compile_model(model)
    rng = np.random.default_rng(1)
    model.item_bias.assign(rng.normal(size=NUM_ITEMS).astype(np.float32))
    if kind is SparCode and active and model.is_quantized:
        quantizer = model.quantizer
        shape = tuple(quantizer.codebooks.shape)
        books = rng.normal(size=shape, scale=0.4).astype(np.float32)
        quantizer.activate(books, np.ones(shape[:3], np.float32))
    return model


def small_ensemble(config: Config, kind: type[SequenceModel] = SparCode) -> AnySparCode:
    """Two small models of different seeds as one."""
    seeds = (dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed)) for seed in (0, 1))
    members = [small_model(member, kind) for member in seeds]
    if kind is SparCode:
        members[1].bias.assign(2.5)  # one of its own
    return put_together(members)


def add_event_lists(model: AnySparCode, weight: float = 3.0) -> None:
    """Gives the model the item memory of random sequences; the event of one place counts `weight`, of the next half."""
    lists = fit_lists([training_windows(random_sequences(), 6)], NUM_ITEMS, model.config.memory)
    ages = weight * 0.5 ** np.arange(model.config.num_events)[::-1]
    model.event_lists = EventLists(lists, ages)


def random_batch(model: SequenceModel, queries: int = 9, negatives: int = 11) -> Batch:
    """A batch of random unit queries, for scores; it has no windows."""
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(queries, model.num_vectors, model.config.tokenizer.dim)).astype(np.float32)
    rows = tf.constant(rng.integers(0, NUM_ITEMS, negatives), tf.int32)
    return Batch(
        windows=tf.zeros([0, 1], tf.int32),
        queries=tf.math.l2_normalize(tf.constant(vectors), -1),
        positives=tf.constant(rng.integers(0, NUM_ITEMS, queries), tf.int32),
        negatives=Negatives(rows, tf.fill([negatives], 1.0 / NUM_ITEMS)),
        places=tf.zeros([queries, 2], tf.int64),
    )


def walks_split(users: int = 40, seed: int = 0, num_items: int = NUM_ITEMS) -> Split:
    """Users who walk round the catalogue in steps of one: what comes next can be learned."""
    rng = np.random.default_rng(seed)
    starts, lengths = rng.integers(0, num_items, users), rng.integers(6, 14, users)
    walks = [
        ((start + np.arange(length)) % num_items).astype(np.int32)
        for start, length in zip(starts, lengths, strict=True)
    ]
    names = tuple(f"item-{row}" for row in range(num_items))
    catalogue = Items(names, tuple(f"Film {row}" for row in range(num_items)), ((),) * num_items)
    return Split(
        "walks",
        "chronological",
        tuple(f"user-{user}" for user in range(users)),
        catalogue,
        [walk[:-2] for walk in walks],
        [walk[-2:-1] for walk in walks],
        [walk[-1:] for walk in walks],
    )
