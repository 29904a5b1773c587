"""Warmup as TensorFlow Serving does it: recorded requests are run before a version may answer users."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.status import StatusError, invalid_argument
from serving.warmup import WARMUP_FILE

MAX_WARMUP_RECORDS = 1000


def replay_warmup(
    servable: pathlib.Path, predict: Callable[[predict_pb2.PredictRequest], predict_pb2.PredictResponse]
) -> int:
    """Runs the warmup requests of a version, if it has any, and returns how many.

    Raises:
      StatusError: a record cannot be read or its request fails, which makes the load fail.
    """
    path = servable / "assets.extra" / WARMUP_FILE
    if not path.exists():
        return 0
    count = 0
    try:
        for count, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator(), start=1):
            if count > MAX_WARMUP_RECORDS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_WARMUP_RECORDS}) at {path}")
            _replay(record, f"warmup record {count} of {path}", predict)
    except tf.errors.DataLossError as error:
        message = f"{error.message}. Please verify your warmup data is in TFRecord format: {path}"
        raise StatusError(grpc.StatusCode.DATA_LOSS, message) from error
    return count


def _replay(
    record: bytes, place: str, predict: Callable[[predict_pb2.PredictRequest], predict_pb2.PredictResponse]
) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError as error:
        raise invalid_argument(f"Failed to parse {place}: {error}") from error
    kind = log.WhichOneof("log_type")
    if kind is None:  # TensorFlow Serving, too, passes over an empty record
        return
    if kind != "predict_log":
        raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind} in {place}")
    try:
        predict(log.predict_log.request)
    except StatusError as error:
        raise StatusError(error.code, f"{place} failed: {error.message}") from error
