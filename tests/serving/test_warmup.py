"""Warmup requests: of every signature and batch size, with real queries, and answered."""

from __future__ import annotations

import collections

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.export import EXTRA
from serving.inputs import WIDTHS
from serving.samples import Samples
from serving.warmup import BATCH_SIZES, WARMUP_FILE, write_warmup
from tests.serving.worlds import SIGNATURES

CHOICES = {"k", "exclude_ids", "allow_categories", "deny_categories", "include_seen"}


def requests(directory):
    """Signature and inputs of each record."""
    for record in tf.data.TFRecordDataset(str(directory / WARMUP_FILE)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        yield (
            request.model_spec.signature_name,
            {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()},
        )


def test_requests_of_every_signature_and_batch_size_are_answered(world):
    served, sizes = world(), collections.defaultdict(list)
    for signature, inputs in requests(served.directory / EXTRA):
        chosen = set(inputs) - {"history"}
        assert chosen in (set(), CHOICES)
        sizes[signature, bool(chosen)].append(len(inputs["history"]))
        assert {len(values) for values in inputs.values()} == {len(inputs["history"])}
        assert {name: inputs[name].shape[1] for name in WIDTHS if chosen} == (WIDTHS if chosen else {})
        assert inputs["history"].shape[1] == served.spec.max_history
        assert inputs["history"].any(axis=1).all()
        answer = served.served.run(signature, inputs)
        assert signature == "encode" or chosen or answer["valid"].any(axis=1).all()
    without = {(signature, False): list(BATCH_SIZES) for signature in SIGNATURES}
    assert sizes == without | {(signature, True): list(BATCH_SIZES) for signature in ("recommend", "explain")}
    assert BATCH_SIZES == (1, 8, 32)


@pytest.mark.parametrize("histories", [[], [None], [None, ["a", None, "b", "c"]]])
def test_queries_without_a_history_make_empty_ones(tmp_path, histories):
    pq.write_table(pa.table({"history": pa.array(histories, pa.list_(pa.string()))}), tmp_path / "queries.parquet")
    samples = Samples(tmp_path / "queries.parquet", (), width=3)
    batch = samples.batch(4)["history"]
    assert batch.shape == (4, 3)
    assert batch[:2].tolist() == [["", "", ""], ["", "b", "c"] if len(histories) == 2 else ["", "", ""]]
    write_warmup(tmp_path, samples, k=5, categories=())
    found = [inputs["history"] for _, inputs in requests(tmp_path)]
    assert len(found) == 18
    np.testing.assert_array_equal(found[0], batch[:1].astype(bytes).astype(object))
