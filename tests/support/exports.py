"""Small exported models made by hand, for tests of the rooms that come after the trainer.

They follow the contract of `run/export` with random weights, so that beam_index and serving are
tested on real SavedModels without training anything.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from protos.artifact import new_artifact, write_manifest

EXPORT_FORMAT = "sparcode.export/2"
EVENT_DECAY = 0.8


@dataclasses.dataclass(frozen=True)
class TinySpec:
    """Sizes of a hand-made export. `residual` has K_u slots and one codebook each; `num_events` may be 0."""

    quantizer: str = "residual"
    num_items: int = 40
    num_query_tokens: int = 3
    num_codebooks: int = 1
    num_codewords: int = 4
    dim: int = 8
    bias: float = 0.1
    num_events: int = 3
    max_history: int = 6
    seed: int = 0

    @property
    def num_slots(self) -> int:
        return 1 if self.quantizer == "product" else self.num_query_tokens

    @property
    def num_keys(self) -> int:
        """Size of the code space: ready lists have the keys from here on."""
        return self.num_slots * self.num_codewords**self.num_codebooks


PRODUCT = TinySpec(quantizer="product", num_codebooks=2)


def item_ids(spec: TinySpec) -> list[str]:
    """Public ids, row by row."""
    return [f"item-{row}" for row in range(spec.num_items)]


def genres(spec: TinySpec) -> list[list[str]]:
    """Genres, row by row: every item is a drama, every other one a comedy too."""
    return [["Drama"] if row % 2 else ["Comedy", "Drama"] for row in range(spec.num_items)]


def ready_lists(spec: TinySpec) -> dict[int, list[tuple[int, float]]]:
    """Key -> [(item row, score)], best first, of about three items in four; scores are quarters, so that some tie."""
    rng = np.random.default_rng(spec.seed + 2)
    lists = {}
    for row in np.flatnonzero(rng.random(spec.num_items) < 0.75) if spec.num_events else []:
        items = rng.choice(spec.num_items, rng.integers(1, 9), replace=False)
        scores = rng.integers(1, 8, len(items)) / 4
        postings = zip(items.tolist(), scores.tolist(), strict=True)
        lists[spec.num_keys + int(row)] = sorted(postings, key=lambda posting: (-posting[1], posting[0]))
    return lists


class TinyQuery(tf.Module):
    """history `[B, H]` string, "" is padding -> codes, keys, weights, tokens, distances."""

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
        listed = ready_lists(spec)
        keys = spec.num_keys + np.arange(spec.num_items, dtype=np.int64)
        self.event_keys = tf.Variable([key if key in listed else -1 for key in keys.tolist()], dtype=tf.int64)

    def events(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Keys and weights `[B, num_events]` of the last known rows, newest first; weights fade with age."""
        newest_first = tf.pad(rows[:, ::-1], [[0, 0], [0, self.spec.num_events]], constant_values=-1)
        known_first = tf.argsort(tf.cast(newest_first < 0, tf.int32), axis=1, stable=True)
        newest = tf.gather(newest_first, known_first, batch_dims=1)[:, : self.spec.num_events]
        keys = tf.where(newest >= 0, tf.gather(self.event_keys, tf.maximum(newest, 0)), -1)
        weights = tf.constant(EVENT_DECAY ** np.arange(self.spec.num_events), tf.float32)
        return keys, tf.where(keys >= 0, weights, 0.0)

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
        event_keys, event_weights = self.events(rows)
        return {
            "codes": code,
            "keys": tf.concat([keys, event_keys], 1),
            "weights": tf.concat([tf.ones_like(keys, tf.float32), event_weights], 1),
            "tokens": tf.stack(kept, 1),
            "distances": tf.stack(distances, 1),
        }


class TinyScorer(tf.Module):
    """Dot products of random vectors: codes with items, and tokens, left as they are, with items."""

    def __init__(self, spec: TinySpec) -> None:
        super().__init__()
        rng = np.random.default_rng(spec.seed + 1)
        self.bias = spec.bias
        self.codes = tf.Variable(rng.normal(size=(spec.num_keys, spec.dim)).astype(np.float32))
        self.items = tf.Variable(rng.normal(size=(spec.num_items, spec.dim)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "keys"), tf.TensorSpec([None], tf.int32, "items")])
    def score(self, keys: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        """keys `[C]`, items `[I]` -> scores `[C, I]`, before bias and ReLU."""
        scores = tf.matmul(tf.gather(self.codes, keys), tf.gather(self.items, items), transpose_b=True)
        return {"scores": scores}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None], tf.float32, "tokens"),
            tf.TensorSpec([None, None], tf.int32, "items"),
        ]
    )
    def rescore(self, tokens: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        """tokens `[B, K_u, D]`, items `[B, W]` -> contributions `[B, K_u, W]`, bias and ReLU included; their sums."""
        scores = tf.matmul(tokens, tf.gather(self.items, items), transpose_b=True)
        contributions = tf.nn.relu(scores + self.bias)
        return {"scores": tf.reduce_sum(contributions, 1), "contributions": contributions}


def random_histories(spec: TinySpec, count: int, seed: int = 0) -> list[list[str]]:
    """Histories of 1 to 2 x max_history known items."""
    rng = np.random.default_rng(seed)
    ids = item_ids(spec)
    lengths = rng.integers(1, 2 * spec.max_history, size=count)
    return [[ids[row] for row in rng.integers(0, spec.num_items, size=length)] for length in lengths]


def random_relevant(spec: TinySpec, count: int, seed: int = 1) -> list[list[str]]:
    """Targets of every third query, 1 to 4 items, among them "" for one outside the catalogue; none of the others."""
    rng = np.random.default_rng(seed)
    ids = ["", *item_ids(spec)]
    return [
        [] if query % 3 else [ids[at] for at in rng.choice(len(ids), rng.integers(1, 5), replace=False)]
        for query in range(count)
    ]


def write_tiny_export(
    directory: pathlib.Path, spec: TinySpec = TinySpec(), signatures: Sequence[str] = ("serving_default", "rescore")
) -> pathlib.Path:
    """Writes an export of `spec` at `directory` and returns it; its scorer has only the `signatures` named."""
    with new_artifact(directory) as building:
        ids = item_ids(spec)
        vocabulary = building.parent / "item_ids.txt"
        vocabulary.write_text("\n".join(ids) + "\n")
        query = TinyQuery(spec, str(vocabulary))
        tf.saved_model.save(query, str(building / "query"), signatures=query.__call__.get_concrete_function())
        scorer = TinyScorer(spec)
        functions = {"serving_default": scorer.score, "rescore": scorer.rescore}
        chosen = {name: functions[name] for name in signatures}
        tf.saved_model.save(scorer, str(building / "scorer"), signatures=chosen)
        _write_tables(building, spec)
        model = dataclasses.asdict(spec) | {"num_slots": spec.num_slots}
        del model["seed"]
        write_manifest(building, EXPORT_FORMAT, model=model, versions={"tensorflow": tf.__version__})
    return directory


def _write_tables(building: pathlib.Path, spec: TinySpec) -> None:
    titles = [f"Film {row}" for row in range(spec.num_items)]
    columns = {"item_id": item_ids(spec), "title": titles, "genres": genres(spec)}
    pq.write_table(pa.table(columns), building / "items.parquet")
    queries = {"history": random_histories(spec, 30), "relevant": random_relevant(spec, 30)}
    pq.write_table(pa.table(queries), building / "queries.parquet")
    lists = ready_lists(spec)
    columns = {
        "key": pa.array(list(lists), pa.int64()),
        "items": pa.array([[row for row, _ in postings] for postings in lists.values()], pa.list_(pa.int32())),
        "scores": pa.array([[score for _, score in postings] for postings in lists.values()], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), building / "lists.parquet")
