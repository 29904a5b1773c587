"""Small models and data for tests of the trainer."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.config import Config, from_mapping
from trainer.model import SequenceModel, SparCode
from trainer.training import compile_model

NUM_ITEMS = 30


def small_config(structure: str = "residual", **sections) -> Config:
    """A configuration that trains in a moment; `sections` override it field by field."""
    values = {
        "data": {"max_history": 6},
        "tokenizer": {"dim": 8, "dropout": 0.1},
        "quantizer": {
            "structure": structure,
            "num_query_tokens": 3,
            "num_codebooks": 2 if structure == "product" else 1,
            "num_codewords": 4,
            "warmup_epochs": 1,
        },
        "scorer": {"num_item_tokens": 2, "product_dim": 3, "hidden": 4, "initial_bias": 2.0},
        "loss": {"in_batch_negatives": 8, "uniform_negatives": 8},
        "training": {"epochs": 4, "batch_size": 8, "validate_every": 1, "deterministic": True},
    }
    for section, fields in sections.items():
        values[section] = {**values.get(section, {}), **fields}
    return from_mapping(values, "test")


def random_sequences(count: int = 24, seed: int = 0, longest: int = 15) -> list[np.ndarray]:
    """Sequences of rows without repetition."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(NUM_ITEMS)[: rng.integers(1, longest)].astype(np.int32) for _ in range(count)]


def item_counts(sequences: list[np.ndarray]) -> np.ndarray:
    return np.bincount(np.concatenate(sequences), minlength=NUM_ITEMS)


def small_model(config: Config, kind: type[SequenceModel] = SparCode, active: bool = True) -> SequenceModel:
    """A compiled model with random weights everywhere; codebooks at random places when `active`."""
    tf.keras.utils.set_random_seed(config.training.seed)
    model = kind(config, item_counts(random_sequences()))
    compile_model(model)
    rng = np.random.default_rng(1)
    model.item_bias.assign(rng.normal(size=NUM_ITEMS))
    if kind is SparCode and active:
        quantizer = model.quantizer
        shape = tuple(quantizer.codebooks.shape)
        books = rng.normal(size=shape, scale=0.4).astype(np.float32)
        quantizer.activate(books, np.ones(shape[:3], np.float32))
    return model
