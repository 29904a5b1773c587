"""Exports whose scorer comes in stages and whose items can be changed one by one, as a new catalogue changes them."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from protos.artifact import new_artifact, write_manifest
from tests.beam_index.tables import lists_table
from tests.support.exports import EXPORT_FORMAT, TinySpec

DIM = 12


class StagedScorer(tf.Module):
    """<q, c> + b_c + |<q, P c>|: an inner product, a bias, and a term that is not linear in the item."""

    def __init__(self, codes: np.ndarray, items: np.ndarray, share: float) -> None:
        super().__init__()
        rng = np.random.default_rng(1)
        self.tables = tf.Variable(codes), tf.Variable(items)
        self.mixed = tf.Variable(rng.normal(size=(DIM, DIM)).astype(np.float32) * share)
        keys, rows = tf.TensorSpec([None], tf.int64, "keys"), tf.TensorSpec([None], tf.int32, "items")
        parts = [tf.TensorSpec([None, DIM], tf.float32, name) for name in ("codes_00", "items_00")]
        self.functions = {
            "codes": self._traced(lambda keys: {"codes_00": tf.gather(self.tables[0], keys)}, keys),
            "items": self._traced(lambda items: {"items_00": tf.gather(self.tables[1], items)}, rows),
            "pairs": self._traced(lambda codes_00, items_00: {"scores": self.pairs(codes_00, items_00)}, *parts),
            "serving_default": self._traced(self.score, keys, rows),
        }

    @staticmethod
    def _traced(function, *inputs):
        return tf.function(function, input_signature=inputs).get_concrete_function()

    def pairs(self, codes: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        linear = tf.matmul(codes, items, transpose_b=True) + items[:, 0]
        return linear + tf.abs(tf.matmul(codes, tf.matmul(items, self.mixed), transpose_b=True))

    def score(self, keys: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": self.pairs(tf.gather(self.tables[0], keys), tf.gather(self.tables[1], items))}


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """Items by their vectors `[I, DIM]`, and which of them were removed `[I]`."""

    vectors: np.ndarray
    removed: np.ndarray

    @classmethod
    def random(cls, size: int, seed: int = 0) -> Catalogue:
        vectors = np.random.default_rng(seed).normal(size=(size, DIM)).astype(np.float32)
        return cls(vectors, np.zeros(size, bool))

    def with_changes(self, changed: list[int], removed: list[int], added: int, seed: int = 9) -> Catalogue:
        """The same after some rows got other vectors, some were removed, and some items came at the end."""
        rng = np.random.default_rng(seed)
        vectors, gone = self.vectors.copy(), self.removed.copy()
        vectors[changed] = rng.normal(size=(len(changed), DIM)).astype(np.float32)
        gone[removed] = True
        more = rng.normal(size=(added, DIM)).astype(np.float32) * 1.2
        return Catalogue(np.concatenate([vectors, more]), np.concatenate([gone, np.zeros(added, bool)]))


def write_staged_export(
    directory: pathlib.Path,
    catalogue: Catalogue,
    num_codes: int = 70,
    bias: float = 0.5,
    share: float = 0.3,
    scorer: str = "a digest",
) -> pathlib.Path:
    """An export of one slot; `share` is how much of the scorer is not linear, `scorer` the digest that it claims."""
    codes = np.random.default_rng(7).normal(size=(num_codes, DIM)).astype(np.float32)
    num_items = len(catalogue.vectors)
    spec = TinySpec(num_items=num_items, num_query_tokens=1, num_codewords=num_codes, bias=bias, num_events=0)
    with new_artifact(directory) as building:
        module = StagedScorer(codes, catalogue.vectors, share)
        tf.saved_model.save(module, str(building / "scorer"), signatures=dict(module.functions))
        table = {"item_id": [f"item-{row}" for row in range(num_items)], "removed": catalogue.removed}
        pq.write_table(pa.table(table), building / "items.parquet")
        ready = [(num_codes + 3, [5, 1, 4], [3.0, 2.0, 1.0])]
        pq.write_table(lists_table(ready), building / "lists.parquet")
        model = dataclasses.asdict(spec) | {"num_slots": spec.num_slots, "scorer": scorer}
        write_manifest(building, EXPORT_FORMAT, model=model, versions={})
    return directory


def all_scores(export: pathlib.Path, num_codes: int, num_items: int) -> np.ndarray:
    """Scores `[C, I]` of the whole scorer, by its signature for one call."""
    score = tf.saved_model.load(str(export / "scorer")).signatures["serving_default"]
    return score(keys=tf.range(num_codes, dtype=tf.int64), items=tf.range(num_items))["scores"].numpy()
