"""Small exported models made by hand, for tests of the rooms that come after the trainer.

They follow the contract of `run/export` with random weights, so that beam_index and serving are
tested on real SavedModels without training anything.
"""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from protos.artifact import new_artifact, write_manifest

EXPORT_FORMAT = "sparcode.export/1"


@dataclasses.dataclass(frozen=True)
class TinySpec:
    """Sizes of a hand-made export. `residual` has K_u slots and one codebook each."""

    quantizer: str = "residual"
    num_items: int = 40
    num_query_tokens: int = 3
    num_codebooks: int = 1
    num_codewords: int = 4
    dim: int = 8
    bias: float = 0.1
    max_history: int = 6
    seed: int = 0

    @property
    def num_slots(self) -> int:
        return 1 if self.quantizer == "product" else self.num_query_tokens


PRODUCT = TinySpec(quantizer="product", num_codebooks=2)


def item_ids(spec: TinySpec) -> list[str]:
    """Public ids, row by row."""
    return [f"item-{row}" for row in range(spec.num_items)]


class TinyQuery(tf.Module):
    """history `[B, H]` string, "" is padding -> codes, keys, tokens, distances."""

    def __init__(self, spec: TinySpec, vocabulary: str) -> None:
        super().__init__()
        rng = np.random.default_rng(spec.seed)
        self.spec = spec
        self.rows = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                vocabulary, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            default_value=-1,
        )
        shape = (spec.num_items, spec.num_query_tokens, spec.dim)
        self.embeddings = tf.Variable(rng.normal(size=shape).astype(np.float32))
        part = spec.dim // spec.num_codebooks
        shape = (spec.num_slots, spec.num_codebooks, spec.num_codewords, part)
        self.codebooks = tf.Variable(rng.normal(size=shape).astype(np.float32) * 0.7)

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="history")])
    def __call__(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = self.spec
        rows = self.rows.lookup(history)
        known = tf.cast(rows >= 0, tf.float32)[:, :, None, None]
        vectors = tf.gather(self.embeddings, tf.maximum(rows, 0)) * known
        tokens = tf.reduce_sum(vectors, 1) / tf.maximum(tf.reduce_sum(known, 1), 1.0)
        residual = tf.zeros_like(tokens[:, 0])
        codes, distances, kept = [], [], []
        for position in range(spec.num_query_tokens):
            slot = position % spec.num_slots
            token = tokens[:, position] if spec.quantizer == "product" else tokens[:, 0] - residual
            parts = tf.reshape(token, [-1, spec.num_codebooks, 1, spec.dim // spec.num_codebooks])
            distance = tf.reduce_sum((parts - self.codebooks[slot]) ** 2, -1)
            code = tf.argmin(distance, -1, output_type=tf.int32)
            if spec.quantizer != "product":
                residual += tf.gather(self.codebooks[slot, 0], code[:, 0])
            codes.append(code)
            distances.append(distance)
            kept.append(token)
        code = tf.stack(codes, 1)
        weights = tf.constant(spec.num_codewords ** np.arange(spec.num_codebooks), tf.int64)
        slots = tf.constant(np.arange(spec.num_query_tokens) % spec.num_slots, tf.int64)
        keys = slots * spec.num_codewords**spec.num_codebooks + tf.reduce_sum(tf.cast(code, tf.int64) * weights, -1)
        return {"codes": code, "keys": keys, "tokens": tf.stack(kept, 1), "distances": tf.stack(distances, 1)}


class TinyScorer(tf.Module):
    """keys `[C]` int64, items `[I]` int32 -> scores `[C, I]`: a dot product of random vectors."""

    def __init__(self, spec: TinySpec) -> None:
        super().__init__()
        rng = np.random.default_rng(spec.seed + 1)
        size = spec.num_slots * spec.num_codewords**spec.num_codebooks
        self.codes = tf.Variable(rng.normal(size=(size, spec.dim)).astype(np.float32))
        self.items = tf.Variable(rng.normal(size=(spec.num_items, spec.dim)).astype(np.float32))

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int64, name="keys"), tf.TensorSpec([None], tf.int32, name="items")]
    )
    def __call__(self, keys: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = tf.matmul(tf.gather(self.codes, keys), tf.gather(self.items, items), transpose_b=True)
        return {"scores": scores}


def random_histories(spec: TinySpec, count: int, seed: int = 0) -> list[list[str]]:
    """Histories of 1 to 2 x max_history known items."""
    rng = np.random.default_rng(seed)
    ids = item_ids(spec)
    lengths = rng.integers(1, 2 * spec.max_history, size=count)
    return [[ids[row] for row in rng.integers(0, spec.num_items, size=length)] for length in lengths]


def write_tiny_export(directory: pathlib.Path, spec: TinySpec = TinySpec()) -> pathlib.Path:
    """Writes an export of `spec` at `directory` and returns it."""
    with new_artifact(directory) as building:
        ids = item_ids(spec)
        vocabulary = building.parent / "item_ids.txt"
        vocabulary.write_text("\n".join(ids) + "\n")
        query = TinyQuery(spec, str(vocabulary))
        tf.saved_model.save(query, str(building / "query"), signatures=query.__call__.get_concrete_function())
        scorer = TinyScorer(spec)
        tf.saved_model.save(scorer, str(building / "scorer"), signatures=scorer.__call__.get_concrete_function())
        titles = [f"Film {row}" for row in range(spec.num_items)]
        genres = [["Drama"] if row % 2 else ["Comedy", "Drama"] for row in range(spec.num_items)]
        pq.write_table(pa.table({"item_id": ids, "title": titles, "genres": genres}), building / "items.parquet")
        pq.write_table(pa.table({"history": random_histories(spec, 30)}), building / "queries.parquet")
        model = dataclasses.asdict(spec) | {"num_slots": spec.num_slots}
        del model["seed"]
        write_manifest(building, EXPORT_FORMAT, model=model, versions={"tensorflow": tf.__version__})
    return directory
