"""Exports whose scorer is a table and whose ready lists are given, so that a test chooses every score of an index."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from beam_index.geometry import CALL_ITEMS, call_codes
from protos.artifact import new_artifact, write_manifest
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
            tf.TensorSpec([call_codes(0)], tf.int64, name="keys"),
            tf.TensorSpec([CALL_ITEMS], tf.int32, name="items"),
        ]
    )
    def __call__(self, keys: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        codes, items = tf.gather(self.codes, keys), tf.gather(self.items, items)
        products = tf.reshape(codes[:, None] * items[None], [-1, codes.shape[1]])
        hidden = tf.reduce_sum(tf.nn.relu(products @ self.hidden), 1)
        rectified = tf.matmul(tf.nn.relu(codes), items, transpose_b=True)
        inner = tf.matmul(codes, items, transpose_b=True)
        return {"scores": rectified + tf.reshape(hidden, [call_codes(0), CALL_ITEMS]) + inner}


def replace_scorer(export: pathlib.Path, scorer: tf.Module) -> pathlib.Path:
    """Puts another scorer into an export and renews its manifest."""
    shutil.rmtree(export / "scorer")
    tf.saved_model.save(scorer, str(export / "scorer"), signatures=scorer.__call__.get_concrete_function())
    return renew_manifest(export)


def renew_manifest(export: pathlib.Path) -> pathlib.Path:
    """Makes an export whole again after a test has put other files into it."""
    manifest = json.loads((export / "manifest.json").read_text())
    write_manifest(export, EXPORT_FORMAT, model=manifest["model"], versions=manifest["versions"])
    return export


def lists_table(lists: Iterable[tuple[int, list[int], list[float]]] = ()) -> pa.Table:
    """The content of `lists.parquet` from keys, rows and scores."""
    keys, items, scores = zip(*lists, strict=True) if lists else ((), (), ())
    columns = {
        "key": pa.array(keys, pa.int64()),
        "items": pa.array(items, pa.list_(pa.int32())),
        "scores": pa.array(scores, pa.list_(pa.float32())),
    }
    return pa.table(columns)


def write_table_export(
    directory: pathlib.Path, table: np.ndarray, bias: float = 0.0, ready: pa.Table | None = None, group: int = 100
) -> pathlib.Path:
    """An export of one slot and one codebook; it has no query model.

    Args:
      directory: to write.
      table: `[C, I]` scores.
      bias: of the model.
      ready: the content of `lists.parquet`; None: no lists.
      group: rows of a row group of it.
    """
    num_codes, num_items = table.shape
    spec = TinySpec(num_items=num_items, num_query_tokens=1, num_codewords=num_codes, bias=bias, num_events=0)
    with new_artifact(directory) as building:
        scorer = TableScorer(table)
        tf.saved_model.save(scorer, str(building / "scorer"), signatures=scorer.__call__.get_concrete_function())
        pq.write_table(pa.table({"item_id": item_ids(spec)}), building / "items.parquet")
        pq.write_table(lists_table() if ready is None else ready, building / "lists.parquet", row_group_size=group)
        model = dataclasses.asdict(spec) | {"num_slots": spec.num_slots}
        write_manifest(building, EXPORT_FORMAT, model=model, versions={})
    return directory
