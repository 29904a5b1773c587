"""An exported model asked without an index: every score exact, nothing pruned."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse
import tensorflow as tf

from protos.artifact import read_manifest
from protos.codes import CodeSpace
from protos.query_inputs import HISTORY, query_inputs, tensors
from trainer.data.splits import Split
from trainer.evaluation import top_k_unseen
from trainer.export import FORMAT
from trainer.exported_queries import feature_columns

# Codes and items of a call of the scorer, whose layers are a few numbers wide. Pairs that are kept, 256 MB, and those
# that are looked at together; codes that are looked at together however many items there are.
_CALL_CODES, _CALL_ITEMS = 256, 4096
_KEPT_PAIRS, _PAIRS_AT_ONCE, _LEAST_CODES = 1 << 26, 1 << 24, 16


class Encoded(NamedTuple):
    """What B histories become.

    Attributes:
      codes: `[B, K_u, M]`.
      keys: `[B, K_u]` of the codes.
      events: `[B, H]` rows of the items whose lists count, -1 where there is none.
      weights: `[B, H]` what the list of each counts, 0 where there is none.
    """

    codes: np.ndarray
    keys: np.ndarray
    events: np.ndarray
    weights: np.ndarray


class Exported:
    """`run/export` as a ranker, by the formula that a servable prunes:

        f(q, c) = sum_i relu(S(key_i, c) + b)  +  sum_e w_e list_e[c]

    Args:
      directory: of the export.
      parts: the data it was trained on; says what histories bring beside their items.

    Attributes:
      space: of its codes.
      num_tokens: K_u.
      num_items: of the catalogue.

    Raises:
      UserError: it is no complete export.
    """

    def __init__(self, directory: pathlib.Path, parts: Split) -> None:
        described = read_manifest(directory, FORMAT)["model"]
        self.space = CodeSpace(*(described[name] for name in ("num_slots", "num_codebooks", "num_codewords")))
        self.num_tokens, self.num_items = described["num_query_tokens"], described["num_items"]
        self._bias, self._inputs = np.float32(described["bias"]), query_inputs(described)
        self._ids, self._columns = parts.catalogue.item_id, parts.columns()
        self._models = [tf.saved_model.load(str(directory / name)) for name in ("query", "scorer")]
        self._query, self._scorer = (model.signatures["serving_default"] for model in self._models)
        self._lists = _ready_lists(directory / "lists.parquet", self.space.size, self.num_items)
        self._kept: dict[int, np.ndarray] = {}

    @property
    def codes_at_once(self) -> int:
        """Codes whose contributions to all items take 64 MB, one at least."""
        return max(1, _PAIRS_AT_ONCE // self.num_items)

    def some_keys(self) -> np.ndarray:
        """Keys at even distances in the space of codes: all, or as many as are held at once where that is fewer."""
        count = min(self.space.size, max(_LEAST_CODES, self.codes_at_once))
        return np.arange(count) * self.space.size // count

    @property
    def ready_postings(self) -> int:
        """Postings of all lists of events."""
        return self._lists.nnz

    def encode(self, histories: Sequence[np.ndarray]) -> Encoded:
        """Codes and event tokens of B histories (`Histories`, where features of events or users are declared)."""
        queries = {HISTORY: [[self._ids[row] for row in rows] for rows in histories]}
        columns = feature_columns(self._inputs, histories, self._columns)
        queries |= {name: column.to_pylist() for name, column in columns.items()}
        fed = tensors(queries, self._inputs)
        found = self._query(**{name: tf.constant(array, tf.as_dtype(_dtype(array))) for name, array in fed.items()})
        keys, weights = found["keys"].numpy(), found["weights"].numpy()
        tokens = slice(0, self.num_tokens)
        events = keys[:, self.num_tokens :]
        events = np.where(events >= 0, events - self.space.size, -1)
        return Encoded(found["codes"].numpy(), keys[:, tokens], events, weights[:, self.num_tokens :])

    def scores(self, keys: np.ndarray) -> np.ndarray:
        """S of codes `[C]` and all items, with the bias and before the ReLU: `[C, I]`."""
        calls = [
            np.concatenate([self._call(part, first) for first in range(0, self.num_items, _CALL_ITEMS)], axis=1)
            for part in np.split(keys, range(_CALL_CODES, len(keys), _CALL_CODES))
        ]
        return np.concatenate(calls) + self._bias

    def _call(self, keys: np.ndarray, first: int) -> np.ndarray:
        rows = tf.range(first, min(first + _CALL_ITEMS, self.num_items))
        return self._scorer(keys=tf.constant(keys, tf.int64), items=rows)["scores"].numpy()

    def contributions(self, keys: np.ndarray) -> np.ndarray:
        """relu(S + b) of codes `[C]`, each once, and all items: `[C, I]`; made once for codes that come again."""
        missing = np.array([key for key in keys.tolist() if key not in self._kept], np.int64)
        if (len(self._kept) + len(missing)) * self.num_items > _KEPT_PAIRS:
            self._kept.clear()
            missing = keys
        made = zip(missing.tolist(), np.maximum(self.scores(missing), 0), strict=True) if len(missing) else ()
        self._kept.update(made)
        return np.stack([self._kept[key] for key in keys.tolist()])

    def event_scores(self, encoded: Encoded) -> np.ndarray:
        """sum_e w_e list_e[c] of every item, `[B, I]`."""
        present = encoded.events >= 0
        queries = np.nonzero(present)[0]
        shape = len(present), self.num_items
        weights = scipy.sparse.csr_array((encoded.weights[present], (queries, encoded.events[present])), shape=shape)
        return (weights @ self._lists).toarray()

    def event_parts(self, encoded: Encoded, query: int, items: np.ndarray) -> np.ndarray:
        """What each event of a query adds to some items `[n]`: `[H, n]`."""
        lists = self._lists[np.maximum(encoded.events[query], 0)][:, items].toarray()
        return lists * encoded.weights[query][:, None]

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> np.ndarray:
        """The k best unseen rows of each history `[B, k]`, best first, -1 where there are fewer."""
        encoded = self.encode(histories)
        distinct, places = np.unique(encoded.keys, return_inverse=True)
        table, total = self.contributions(distinct), self.event_scores(encoded)
        for token in places.reshape(encoded.keys.shape).T:
            total += table[token]
        return top_k_unseen(total, histories, k)


def _dtype(array: np.ndarray) -> str:
    return "string" if array.dtype == object else "float32"


def _ready_lists(path: pathlib.Path, first_key: int, num_items: int) -> scipy.sparse.csr_array:
    """`[I, I]` float32: row e is the list of item e."""
    table = pq.read_table(path, columns=["key", "items", "scores"])
    lists = [table[name].combine_chunks() for name in ("items", "scores")]
    lengths = np.zeros(num_items, np.int64)
    order = np.argsort(table["key"].to_numpy())
    keys = table["key"].to_numpy()[order] - first_key
    items, scores = (column.take(order).flatten().to_numpy() for column in lists)
    lengths[keys] = np.diff(lists[0].take(order).offsets.to_numpy())
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return scipy.sparse.csr_array((scores.astype(np.float32), items, offsets), shape=(num_items, num_items))
