"""SavedModels loaded and run as TensorFlow Serving does it: the Session loader, compiled feeds and fetches."""

from __future__ import annotations

import pathlib
from collections import Counter

import numpy as np
import tensorflow as tf

from beam_index.saved_model import compiled

_THREADS = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)


class Loaded:
    """The default signature of a SavedModel, on one thread."""

    def __init__(self, directory: pathlib.Path, outputs: tuple[str, ...]) -> None:
        """Loads it; calls give the `outputs` of these names."""
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph, config=_THREADS)
        with graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(self._session, ["serve"], str(directory))
        signature = meta_graph.signature_def["serving_default"]
        self._feed = signature.inputs["history"].name
        self._fetches = [signature.outputs[name].name for name in outputs]
        self._call = compiled(self._session, [self._feed], self._fetches)

    def __call__(self, histories: np.ndarray) -> list[np.ndarray]:
        """The outputs for histories `[B, H]` of item ids."""
        return self._call(histories)

    def microseconds_by_op(self, batches: list[np.ndarray]) -> dict[str, float]:
        """Microseconds a query in ops of each type, most first, as TensorFlow's tracer says."""
        spent: Counter[str] = Counter()
        options = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
        for batch in batches:
            metadata = tf.compat.v1.RunMetadata()
            self._session.run(self._fetches, {self._feed: batch}, options=options, run_metadata=metadata)
            for node in (node for device in metadata.step_stats.dev_stats for node in device.node_stats):
                spent[_op_type(node.timeline_label)] += node.op_end_rel_micros - node.op_start_rel_micros
        queries = sum(map(len, batches))
        return {op: micros / queries for op, micros in spent.most_common() if op}

    def close(self) -> None:
        """Frees what it holds."""
        self._session.close()


def _op_type(label: str) -> str:
    """The type in a label `name = Type(inputs)`; "" of what is no op."""
    return label.partition(" = ")[2].partition("(")[0]
