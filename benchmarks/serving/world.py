"""What all systems of the benchmark serve: one model's export, its index, and the encoder of its two-tower sister."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import trainer  # noqa: F401  (before TensorFlow: it chooses the Keras)
from benchmarks.serving.catalogue import Catalogue, make_catalogue, make_histories
from benchmarks.serving.layout import ENCODER, MODEL, QUERIES, VECTORS
from protos.artifact import read_manifest, write_manifest
from trainer.codebooks import start_codebooks
from trainer.config import Config, from_mapping
from trainer.export import FORMAT, QueryModule, export
from trainer.layers.event_lists import EventLists
from trainer.layers.tokenizers import PADDING
from trainer.memory import ItemLists
from trainer.model import SparCode
from trainer.windows import pad_histories

import tensorflow as tf  # isort: skip

_TRAINING_QUERIES, _QUERIES = 10_000, 2_000
_ROWS_AT_ONCE, _VECTORS_AT_ONCE = 512, 1 << 18


class VectorModule(QueryModule):
    """The query side of a two-tower model: history `[B, H]` string to `vectors [B, D]`, by the same encoder."""

    def _encode(self, model: SparCode, history: tf.Tensor, inputs: dict) -> dict[str, tf.Tensor]:
        rows = tf.cast(self.rows.lookup(history), tf.int32)
        return {"vectors": model.last_query_vectors(self._last_known(rows, rows, PADDING))[:, 0]}


def make_world(directory: pathlib.Path, num_items: int, seed: int = 0) -> None:
    """Writes the world of so many items: `export/`, `encoder/`, `vectors.npy [I, D]` and `histories.npy [Q, H]`.

    A world that is there is taken. No model is trained: item vectors are the catalogue's, the encoder's
    attention takes the mean of the history and adds it to the last event, codewords come from k-means over the
    vectors of histories, as in training, and interactions are as they start.
    """
    if (directory / QUERIES).exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    config = from_mapping({}, "benchmark")
    catalogue = make_catalogue(num_items, config.tokenizer.dim, rng)
    longest = config.data.max_history
    model = _model(config, catalogue)
    windows = pad_histories(make_histories(catalogue, _TRAINING_QUERIES, longest, rng), longest)
    _place_codewords(model, windows)
    heads, lists = _event_lists(config, catalogue)
    model.event_lists = _placeholders(config, heads, num_items)
    ids = [str(row) for row in range(num_items)]
    export(model, {"item_id": ids}, [], directory / MODEL)
    _replace_lists(directory / MODEL, model.code_space.size, heads, lists)
    _save_encoder(model, ids, directory / ENCODER)
    np.save(directory / VECTORS, catalogue.vectors)
    np.save(directory / QUERIES, pad_histories(make_histories(catalogue, _QUERIES, longest, rng), longest))


def _model(config: Config, catalogue: Catalogue) -> SparCode:
    model = SparCode(config, catalogue.counts)
    model.score_codes(tf.constant([0], tf.int64), tf.constant([0]))
    model.quantize(model.last_query_vectors(tf.constant([[0]])))
    for start in range(0, model.num_items, _VECTORS_AT_ONCE):
        part = catalogue.vectors[start : start + _VECTORS_AT_ONCE]
        model.item_embeddings.scatter_update(tf.IndexedSlices(part, np.arange(start, start + len(part))))
    for block in model.tokenizer.blocks:
        _average(block, config.tokenizer.dim)
    return model


def _average(block: tf.keras.layers.Layer, dim: int) -> None:
    """Makes a Transformer block add the mean of the events before: queries and keys 0, values as they are."""
    block.projections.kernel.assign(np.hstack([np.zeros((dim, 2 * dim)), np.eye(dim)]).astype(np.float32))
    block.output_projection.kernel.assign(np.eye(dim, dtype=np.float32))
    block.contract.kernel.assign(tf.zeros_like(block.contract.kernel))


def _place_codewords(model: SparCode, windows: np.ndarray) -> None:
    parts = [windows[start : start + _ROWS_AT_ONCE] for start in range(0, len(windows), _ROWS_AT_ONCE)]
    vectors = np.concatenate([model.last_query_vectors(tf.constant(part)).numpy() for part in parts])
    codebooks, shares = start_codebooks(vectors, model.config.quantizer, seed=0)
    model.quantizer.activate(codebooks, shares)


def _event_lists(config: Config, catalogue: Catalogue) -> tuple[np.ndarray, ItemLists]:
    """The most popular items `[m]`, and a list of each: the popular ones nearest to it, less the next best's score."""
    memory = config.memory
    heads = np.sort(np.argsort(-catalogue.counts, kind="stable")[: memory.max_items])
    vectors = catalogue.vectors[heads]
    popularity = ((catalogue.counts[heads] / catalogue.counts.max()) ** 0.1).astype(np.float32)
    length = min(memory.list_length, len(heads) - 2)
    items, scores = np.empty((len(heads), length), np.int32), np.empty((len(heads), length), np.float32)
    for start in range(0, len(heads), _ROWS_AT_ONCE):
        part = vectors[start : start + _ROWS_AT_ONCE] @ vectors.T * popularity
        part[np.arange(len(part)), start + np.arange(len(part))] = 0
        best = np.argpartition(-part, length, axis=1)[:, : length + 1]
        found = np.take_along_axis(part, best, 1)
        found -= found[:, length:]  # the next best, which argpartition leaves there
        order = np.lexsort((best, -found))[:, :length]
        items[start : start + len(part)] = np.take_along_axis(best, order, 1)
        scores[start : start + len(part)] = np.take_along_axis(found, order, 1)
    return heads, ItemLists(heads[items].astype(np.int32), scores)


def _placeholders(config: Config, heads: np.ndarray, num_items: int) -> EventLists:
    """Event tokens of these items, their lists of one entry: whole ones, a row for every item, would take too much."""
    scores = np.zeros((num_items, 1), np.float32)
    scores[heads] = 1
    ages = 2.0 ** (-np.arange(config.memory.num_events)[::-1] / config.memory.half_life)
    return EventLists(ItemLists(np.zeros((num_items, 1), np.int32), scores), ages)


def _replace_lists(model: pathlib.Path, first: int, heads: np.ndarray, lists: ItemLists) -> None:
    """Writes the event lists of an export, whose placeholders have the same keys."""
    manifest = read_manifest(model, FORMAT)
    present = lists.scores > 0
    offsets = pa.array(np.concatenate([[0], np.cumsum(present.sum(axis=1))]), pa.int32())
    nested = [
        pa.ListArray.from_arrays(offsets, pa.array(values[present], kind))
        for values, kind in ((lists.items, pa.int32()), (lists.scores, pa.float32()))
    ]
    pq.write_table(pa.table([pa.array(first + heads), *nested], ["key", "items", "scores"]), model / "lists.parquet")
    write_manifest(model, FORMAT, model=manifest["model"], versions=manifest["versions"])


def _save_encoder(model: SparCode, ids: Sequence[str], directory: pathlib.Path) -> None:
    vocabulary = directory.with_suffix(".txt")
    vocabulary.write_text("".join(f"{item}\n" for item in ids))
    module = VectorModule(model, str(vocabulary))
    tf.saved_model.save(module, str(directory), signatures=module.signature)
    vocabulary.unlink()
