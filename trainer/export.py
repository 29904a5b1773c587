"""Writes a trained model as an export: two SavedModels, the catalogue, sample queries, a manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from protos.artifact import new_artifact, write_manifest
from protos.errors import UserError
from protos.query_inputs import HISTORY, QueryInput
from trainer.ensemble import AnySparCode, side_by_side
from trainer.exported_queries import SampleQueries, write_queries
from trainer.exported_scorer import ScorerModule
from trainer.features.serving import input_specs, input_vectors, inputs_of
from trainer.layers.tokenizers import PADDING
from trainer.memory import no_lists
from trainer.sequence_model import SequenceModel

FORMAT = "sparcode.export/2"
_VOCABULARY = "item_ids.txt"
NO_KEY = -1
# Lists of a row group of lists.parquet, which readers hold one at a time.
_LISTS_A_GROUP = 4096


class QueryModule(tf.Module):
    """Public item ids of a history in; codes, keys, weights, tokens and distances out.

    Declared features of events and users are further inputs, by the names of their columns
    (trainer/features/serving.py); features of an event stand at its place in `history`.
    """

    def __init__(self, model: AnySparCode, vocabulary: str) -> None:
        super().__init__()
        # Only the variables are tracked: a Keras model as an attribute would be saved a second time, as Keras sees it.
        self.weights = (model.variables, model.event_lists and model.event_lists.variables)
        # Their tables of categories are no variables.
        self.encoders = [
            part.fitted.encoders
            for member in model.members
            for part in (member.event_features, member.user_features)
            if part
        ]
        self.max_history = model.config.data.max_history
        # An asset, not a constant: the graph stays small however large the catalogue.
        self.rows = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                vocabulary, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            default_value=PADDING,
        )
        self.first_bucket, self.tail_buckets = model.num_targets, model.tail_buckets
        signature = tf.TensorSpec([None, None], tf.string, name=HISTORY)
        context = input_specs(_query_inputs(model))
        if context:
            encode = tf.function(lambda history, **inputs: self._encode(model, history, inputs))
            self.signature = encode.get_concrete_function(history=signature, **context)
        else:
            self.encode = tf.function(lambda history: self._encode(model, history, {}), input_signature=[signature])
            self.signature = self.encode.get_concrete_function()

    def _rows_of(self, history: tf.Tensor) -> tf.Tensor:
        """Rows of ids, int32; of other ids those of the tail, where there is one; -1 for none and for the empty id."""
        rows = self.rows.lookup(history)
        if self.tail_buckets:  # as trainer/data/prepare/hashing.py does
            buckets = self.first_bucket + tf.strings.to_hash_bucket_fast(history, self.tail_buckets)
            rows = tf.where((rows == PADDING) & (history != ""), buckets, rows)
        return tf.cast(rows, tf.int32)

    def _last_known(self, rows: tf.Tensor, values: tf.Tensor, missing: float) -> tf.Tensor:
        """Values `[B, H, ...]` of the last known rows `[B, H]`: `[B, max_history, ...]`, right-aligned."""
        known_last = tf.argsort(tf.cast(rows != PADDING, tf.int32), axis=1, stable=True)
        packed = tf.gather(values, known_last, batch_dims=1)
        paddings = [[0, 0], [self.max_history, 0]] + [[0, 0]] * (len(values.shape) - 2)
        return tf.pad(packed, paddings, constant_values=missing)[:, -self.max_history :]

    def _context(self, model: SequenceModel, rows: tf.Tensor, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor | None:
        """What inputs beside the history add to its last known events, `[B, max_history, D]`."""
        context = []
        if model.event_features is not None:
            events = input_vectors(model.event_features, inputs, tf.shape(rows))
            # What is said of padding and of unknown items is not to reach the start marker, which takes their place.
            events *= tf.cast(rows != PADDING, tf.float32)[..., None]
            context.append(self._last_known(rows, events, 0.0))
        if model.user_features is not None:
            users = input_vectors(model.user_features, inputs, tf.shape(rows)[:1])
            context.append(tf.repeat(users[:, None], self.max_history, axis=1))
        return tf.add_n(context) if context else None

    def _encode(self, model: AnySparCode, history: tf.Tensor, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """See the contract of run/export: history `[B, H]` string to codes, keys, weights, tokens, distances."""
        rows = self._rows_of(history)
        windows = self._last_known(rows, rows, PADDING)
        quantized = side_by_side(
            [
                member.quantize(member.last_query_vectors(windows, self._context(member, rows, inputs)))
                for member in model.members
            ],
            model.members[0].code_space.size,
        )
        keys, weights = [quantized.keys], [tf.ones_like(quantized.keys, tf.float32)]
        if model.event_lists is not None:
            rows, event_weights = model.event_lists.tokens(windows)
            first = model.code_space.size
            keys.append(tf.where(rows == PADDING, tf.constant(NO_KEY, tf.int64), first + tf.cast(rows, tf.int64)))
            weights.append(event_weights)
        return {
            "codes": quantized.codes,
            "keys": tf.concat(keys, 1),
            "weights": tf.concat(weights, 1),
            "tokens": quantized.tokens,
            "distances": quantized.distances,
        }


def export(
    model: AnySparCode,
    catalogue: dict[str, Sequence[Any]],
    queries: SampleQueries | Sequence[np.ndarray],
    directory: str | os.PathLike[str],
) -> pathlib.Path:
    """Writes the export of a trained model.

    Args:
      model: with its codebooks active.
      catalogue: columns item_id, title, genres and any others, one entry a row.
      queries: whose codes an index of observed codes covers; of histories alone nothing else is known.
      directory: where to; replaced as a whole when the export is complete.

    Raises:
      UserError: the codebooks were never started, or an item id cannot stand on a line of its own.
    """
    if not model.is_quantized:
        raise UserError(
            "the model has quantizer.structure 'none', the all-to-all model: it has no codes, so no index can be built"
            " of it; train one with 'residual', 'separate' or 'product'"
        )
    if not all(bool(member.quantizer.active) for member in model.members):
        raise UserError(
            f"the model has no codes yet: it trained {model.config.quantizer.warmup_epochs} unquantised epochs"
            " (quantizer.warmup_epochs) and stopped; train for more epochs (training.epochs)"
        )
    ids = [str(item) for item in catalogue["item_id"]]
    check_ids(ids)
    directory = pathlib.Path(directory)
    with new_artifact(directory) as building:
        _save_models(model, ids, building)
        pq.write_table(_ready_lists(model), building / "lists.parquet", row_group_size=_LISTS_A_GROUP)
        pq.write_table(pa.table(dict(catalogue)), building / "items.parquet")
        sample = queries if isinstance(queries, SampleQueries) else SampleQueries(queries)
        write_queries(building / "queries.parquet", sample, ids, _query_inputs(model))
        versions = {"tensorflow": tf.__version__, "sparcode": metadata.version("sparcode")}
        write_manifest(building, FORMAT, model=_describe(model), versions=versions)
    return directory


def check_ids(ids: Sequence[str]) -> None:
    """Raises UserError unless every id is one line of text, not empty."""
    for row, item in enumerate(ids):
        if not item or "\n" in item or "\r" in item:
            raise UserError(f"item id {item!r} in row {row} of the catalogue: an id is one line of text, not empty")


def _save_models(model: AnySparCode, ids: Sequence[str], building: pathlib.Path) -> None:
    vocabulary = building / _VOCABULARY
    vocabulary.write_text("".join(f"{item}\n" for item in ids), encoding="utf-8")
    query = QueryModule(model, str(vocabulary))
    tf.saved_model.save(query, str(building / "query"), signatures=query.signature)
    scorer = ScorerModule(model)
    tf.saved_model.save(scorer, str(building / "scorer"), signatures=dict(scorer.functions))
    vocabulary.unlink()  # the SavedModel keeps its own copy among its assets


def _ready_lists(model: AnySparCode) -> pa.Table:
    """The lists of event tokens: key, items, scores."""
    lists = model.event_lists.lists if model.event_lists is not None else no_lists()
    present = lists.scores > 0
    rows = np.flatnonzero(present.any(axis=1))
    offsets = np.concatenate([[0], np.cumsum(present[rows].sum(axis=1))])
    columns = {
        "key": pa.array(model.code_space.size + rows, pa.int64()),
        "items": _nested(offsets, lists.items[rows][present[rows]], pa.int32()),
        "scores": _nested(offsets, lists.scores[rows][present[rows]], pa.float32()),
    }
    return pa.table(columns)


def _nested(offsets: np.ndarray, values: np.ndarray, kind: pa.DataType) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, kind))


def _query_inputs(model: AnySparCode) -> tuple[QueryInput, ...]:
    """What queries bring beside their histories, to every member."""
    return inputs_of(model.members[0].event_features, model.members[0].user_features)


def _scorer_digest(model: AnySparCode) -> str:
    """SHA-256 of all that scores depend on beside the items."""
    digest = hashlib.sha256()
    for member in model.members:
        for variable in (*member.quantizer.variables, *member.scorer.variables, member.bias):
            digest.update(np.ascontiguousarray(variable.numpy()))
    return digest.hexdigest()


def _describe(model: AnySparCode) -> dict[str, Any]:
    quantizer = model.config.quantizer
    return {
        "quantizer": quantizer.structure,
        "num_items": model.num_items,
        "num_query_tokens": model.num_query_tokens,
        "num_codebooks": quantizer.num_codebooks,
        "num_codewords": quantizer.num_codewords,
        "num_slots": model.code_space.num_slots,
        "dim": model.config.tokenizer.dim,
        "bias": float(model.bias),
        "flops": model.members[0].scorer.costs()._asdict(),
        # Equal in exports that differ in their catalogue only: then scores of other items have not changed.
        "scorer": _scorer_digest(model),
        "max_history": model.config.data.max_history,
        "num_events": 0 if model.event_lists is None else model.config.num_events,
        "features": dataclasses.asdict(model.config.features),
        "query_inputs": [each.as_json() for each in _query_inputs(model)],
    }
