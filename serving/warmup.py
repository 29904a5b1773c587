"""Warmup requests: what TensorFlow Serving runs before it lets users at a new version."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

WARMUP_FILE = "tf_serving_warmup_requests"
BATCH_SIZES = (1, 32)


def write_warmup(directory: pathlib.Path, histories: Sequence[Sequence[str]], max_history: int) -> None:
    """Writes one request of each batch size to `directory / WARMUP_FILE`, a TFRecord of PredictionLog.

    Args:
      directory: `assets.extra` of the servable.
      histories: real histories to ask with, repeated as often as needed; none makes empty ones.
      max_history: the width of the requests; the latest ids of a longer history are kept.
    """
    rows = [_padded(history, max_history) for history in histories] or [_padded([], max_history)]
    with tf.io.TFRecordWriter(str(directory / WARMUP_FILE)) as writer:
        for batch_size in BATCH_SIZES:
            batch = [rows[number % len(rows)] for number in range(batch_size)]
            writer.write(_request_log(batch).SerializeToString())


def _padded(history: Sequence[str], width: int) -> list[str]:
    latest = list(history)[-width:]
    return latest + [""] * (width - len(latest))


def _request_log(batch: Sequence[Sequence[str]]) -> prediction_log_pb2.PredictionLog:
    # The server runs warmup on the model it loads: the request needs no model name.
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "serving_default"
    request.inputs["history"].CopyFrom(tf.make_tensor_proto(batch, tf.string))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
