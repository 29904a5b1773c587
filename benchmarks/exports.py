"""Exports to build indexes of: a trained one whose items have features, and ones of any size with random weights."""

from __future__ import annotations

import pathlib

import numpy as np

import trainer  # noqa: F401  (before TensorFlow: it chooses the Keras)
from trainer import task
from trainer.config import Config, from_mapping
from trainer.data import load, split
from trainer.data.features import NO_COLUMNS
from trainer.export import export
from trainer.model import SparCode

import tensorflow as tf  # isort: skip

# An expressive scorer: four item tokens as wide as the item, as the paper has them, and an MLP of 64 units.
WIDE = {"product_dim": 64, "hidden": 64}
# Between it and the preset's.
MIDDLE = {"product_dim": 32, "hidden": 64}
_FEATURES = [{"name": "genres", "kind": "multi_category"}, {"name": "title", "kind": "text"}]


def configuration(num_codes: int, **sections: dict) -> Config:
    """The default preset with so many codes; no item memory, whose lists the index only copies."""
    values = {"quantizer": {"num_codewords": num_codes // 4}, "memory": {"num_events": 0}}
    return from_mapping({**values, **sections}, "benchmark")


def trained_export(directory: pathlib.Path, num_items: int, num_codes: int) -> pathlib.Path:
    """An export of a model trained for a few epochs on generated data, its items with features.

    Args:
      directory: of the run; a run that is there is taken.
      num_items: of the model's catalogue, about: a quarter of those generated have no event and are not in it.
      num_codes: of all slots together.
    """
    if not (directory / "export" / "manifest.json").exists():
        config = configuration(
            num_codes,
            data={"split": "chronological"},
            features={"items": _FEATURES, "id_dropout": 0.2},
            training={"epochs": 3, "validate_every": 1, "validation_users": 500},
            quantizer={"num_codewords": num_codes // 4, "warmup_epochs": 2},
        )
        generated = 4 * num_items // 3
        data = load(f"synthetic:users={generated // 25},items={generated},interactions={8 * generated}")
        parts = split(data, config.data.split)
        task.export_trained(task.train(parts, config, directory), parts, directory / "export")
    return directory / "export"


def random_export(directory: pathlib.Path, num_items: int, num_codes: int, **scorer: int) -> pathlib.Path:
    """An export of a model of random weights: as dear to index as a trained one."""
    if (directory / "manifest.json").exists():
        return directory
    model = SparCode(configuration(num_codes, scorer=scorer), np.ones(num_items, np.int64), columns=NO_COLUMNS)
    model.score_codes(tf.constant([0], tf.int64), tf.constant([0]))
    model.quantize(model.last_query_vectors(tf.constant([[0]])))
    shape = model.quantizer.codebooks.shape
    codebooks = np.random.default_rng(0).normal(size=shape, scale=shape[-1] ** -0.5).astype(np.float32)
    model.quantizer.activate(codebooks, np.ones(shape[:3], np.float32))
    ids = [str(row) for row in range(num_items)]
    return export(model, {"item_id": ids}, [np.arange(5)], directory)
