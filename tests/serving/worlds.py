"""A model, an index and a servable of both, with what the answers should be, in NumPy."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

from serving.index import read_index
from serving.retrieval import AnswerOptions
from tests.support.exports import PRODUCT, TinySpec, item_ids
from tests.support.indexes import TinyIndexSpec, all_keys, score_matrix

SPECS = {"product": PRODUCT, "residual": TinySpec(), "no events": TinySpec(num_events=0)}
SUMS = ["sparse", "completed", "rescored"]
SIGNATURES = ["serving_default", "recommend", "explain", "encode"]
UNPRUNED = TinyIndexSpec()
PRUNED = TinyIndexSpec(keys=(0, 1, 5, 6, 8, 9, 11), postings_per_code=5)
EVERYTHING = AnswerOptions(1000)
EVERYTHING_SEEN_TOO = AnswerOptions(1000, keep_seen=True)


class Served:
    """A servable run by the Session loader, as TensorFlow Serving runs it; inputs with defaults may be left out."""

    def __init__(self, directory):
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(self._session, ["serve"], str(directory))
        self.signatures = meta_graph.signature_def

    def run(self, signature, inputs):
        """The outputs by name, in NumPy."""
        declared = self.signatures[signature]
        feeds = {declared.inputs[name].name: values for name, values in inputs.items()}
        return self._session.run({name: output.name for name, output in declared.outputs.items()}, feeds)


class World:
    """A model, an index of it, and the servable of both."""

    def __init__(self, spec, model, index, directory):
        self.spec, self.model, self.index = spec, model, index
        self.directory, self.served = directory, Served(directory)
        self._query = tf.saved_model.load(str(model / "query"))

    @property
    def num_tokens(self):
        return self.spec.num_query_tokens

    def query(self, histories):
        outputs = self._query.signatures["serving_default"](history=tf.constant(padded(histories)))
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def ask(self, histories, signature="serving_default", **inputs):
        return self.served.run(signature, {"history": padded(histories), **inputs})

    def contributions(self):
        """relu(S + bias) `[all codes, I]` of the exported scorer."""
        model = {name: getattr(self.spec, name) for name in ("num_slots", "num_codewords", "num_codebooks")}
        return np.maximum(score_matrix(self.model, all_keys(model)) + np.float32(self.spec.bias), 0)

    def token_scores(self, histories):
        """sum_i relu(S(q_i, c) + b) `[B, I]` of the codes of quantised tokens."""
        return self.contributions()[self.query(histories)["keys"][:, : self.num_tokens]].sum(axis=1)

    def event_scores(self, histories):
        """sum_e w_e list_e[c] `[B, I]` from the exported ready lists."""
        lists = {entry["key"]: entry for entry in pq.read_table(self.model / "lists.parquet").to_pylist()}
        query, scores = self.query(histories), np.zeros((len(histories), self.spec.num_items))
        for row, event in np.argwhere(query["keys"][:, self.num_tokens :] >= 0):
            entry = lists[query["keys"][row, self.num_tokens + event]]
            scores[row, entry["items"]] += query["weights"][row, self.num_tokens + event] * np.array(entry["scores"])
        return scores

    def candidates(self, histories, keys):
        """Whether `[B, I]` each item is in a list of `keys`, those looked up, and was not seen."""
        index = read_index(self.index, with_block=False)
        found = np.zeros((len(histories), self.spec.num_items), bool)
        for query in range(len(histories)):
            for row in np.flatnonzero(np.isin(index.keys, keys[query])):
                found[query, index.items[index.offsets[row] : index.offsets[row + 1]]] = True
        return found & self.unseen(histories)

    def unseen(self, histories):
        """Whether `[B, I]` each item is not in the history."""
        return np.array([[item not in history for item in item_ids(self.spec)] for history in histories])


def padded(lists, width=1):
    """Lists of strings as `[B, W]`, filled up with ""; W is `width`, or what the longest needs."""
    array = np.full((len(lists), max([width, *map(len, lists)])), "", object)
    for row, strings in zip(array, lists, strict=True):
        row[: len(strings)] = strings
    return array


def ids_of(answer, query):
    """The valid ids of one query, which must come first and be followed by nothing."""
    valid = answer["valid"][query]
    count = int(valid.sum())
    assert valid[:count].all()
    assert (answer["item_ids"][query, count:] == b"").all()
    assert (answer["scores"][query, count:] == 0).all()
    return [item_id.decode() for item_id in answer["item_ids"][query, :count]]
