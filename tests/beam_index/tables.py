"""Exports whose scorer is a table, so that a test chooses every score and knows it exactly."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from beam_index.geometry import CALL_ITEMS, CHUNK_CODES
from protos.artifact import new_artifact, read_manifest, write_manifest
from tests.support.exports import EXPORT_FORMAT, TinySpec, item_ids


class TableScorer(tf.Module):
    """scores[key, item] looked up."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        self.table = tf.Variable(table.astype(np.float32))

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int64, name="keys"), tf.TensorSpec([None], tf.int32, name="items")]
    )
    def __call__(self, keys: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.gather(tf.gather(self.table, keys), items, axis=1)}


class DeepScorer(tf.Module):
    """A hidden layer on products, and a sum of three terms: bits that depend on how they are computed.

    Its shapes are fixed to those of the calls of a build, which lets TensorFlow rewrite the sum.
    """

    def __init__(self, num_codes: int, num_items: int, width: int = 32) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        shapes = {"codes": (num_codes, width), "items": (num_items, width), "hidden": (width, 2 * width)}
        for name, shape in shapes.items():
            setattr(self, name, tf.Variable(rng.normal(size=shape).astype(np.float32)))

    @tf.function(
        input_signature=[
            tf.TensorSpec([CHUNK_CODES], tf.int64, name="keys"),
            tf.TensorSpec([CALL_ITEMS], tf.int32, name="items"),
        ]
    )
    def __call__(self, keys: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        codes, items = tf.gather(self.codes, keys), tf.gather(self.items, items)
        products = tf.reshape(codes[:, None] * items[None], [-1, codes.shape[1]])
        hidden = tf.reduce_sum(tf.nn.relu(products @ self.hidden), 1)
        rectified = tf.matmul(tf.nn.relu(codes), items, transpose_b=True)
        inner = tf.matmul(codes, items, transpose_b=True)
        return {"scores": rectified + tf.reshape(hidden, [CHUNK_CODES, CALL_ITEMS]) + inner}


def replace_scorer(export: pathlib.Path, scorer: tf.Module) -> pathlib.Path:
    """Puts another scorer into an export and renews its manifest."""
    manifest = read_manifest(export, EXPORT_FORMAT)
    shutil.rmtree(export / "scorer")
    tf.saved_model.save(scorer, str(export / "scorer"), signatures=scorer.__call__.get_concrete_function())
    write_manifest(export, EXPORT_FORMAT, model=manifest["model"], versions=manifest["versions"])
    return export


def write_table_export(directory: pathlib.Path, table: np.ndarray, bias: float = 0.0) -> pathlib.Path:
    """An export of one slot and one codebook whose scores are `table [C, I]`; it has no query model."""
    num_codes, num_items = table.shape
    spec = TinySpec(num_items=num_items, num_query_tokens=1, num_codewords=num_codes, bias=bias)
    with new_artifact(directory) as building:
        scorer = TableScorer(table)
        tf.saved_model.save(scorer, str(building / "scorer"), signatures=scorer.__call__.get_concrete_function())
        pq.write_table(pa.table({"item_id": item_ids(spec)}), building / "items.parquet")
        model = dataclasses.asdict(spec) | {"num_slots": spec.num_slots}
        write_manifest(building, EXPORT_FORMAT, model=model, versions={})
    return directory
