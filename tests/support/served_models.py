"""Small real SavedModels for tests of the server and the client, written as TensorFlow Serving loads them."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

K = 3
TIMES = tf.constant([2], tf.int32)
FAILURE = "the graph says no. " * 100


def _spec(shape: Sequence[int | None], dtype: tf.DType, name: str) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name=name)


class ToyModel(tf.Module):
    """Signatures that are easy to foresee.

    serving_default has SparCode's shape: for a history of n ids it returns the n-th items best first,
    as many as n but at most K. It has two quantised tokens and one event.
    """

    @tf.function(input_signature=[_spec([None, None], tf.string, "history")])
    def recommend(self, history: tf.Tensor) -> dict[str, tf.Tensor]:
        known = tf.reduce_sum(tf.cast(history != "", tf.int32), 1)
        place = tf.range(K)[None, :]
        valid = place < known[:, None]
        rank = tf.broadcast_to(place, tf.shape(valid))
        number = tf.cast(tf.stack([known, known + 1], 1), tf.int64)
        event = tf.cast(tf.where(known > 0, known + 50, -1), tf.int64)
        return {
            "item_ids": tf.where(valid, tf.strings.join(["é-", tf.strings.as_string(rank)]), ""),
            "scores": tf.where(valid, 1.0 / tf.cast(rank + 1, tf.float32), 0.0),
            "valid": valid,
            "codes": tf.cast(number[:, :, None], tf.int32),
            "keys": tf.concat([number + 10, event[:, None]], 1),
            "fallback": tf.pad(number % 2 == 0, [[0, 0], [0, 1]]),
        }

    @tf.function(input_signature=[_spec([None, 3], tf.float32, "x"), _spec([None], tf.int32, "times")])
    def scale(self, x: tf.Tensor, times: tf.Tensor = TIMES) -> dict[str, tf.Tensor]:
        return {"y": x * tf.cast(times[:, None], tf.float32), "times": times}

    @tf.function(
        input_signature=[
            _spec(None, dtype, dtype.name)
            for dtype in (tf.string, tf.float32, tf.float64, tf.int32, tf.int64, tf.uint8, tf.bool, tf.float16)
        ]
    )
    def echo(self, *values: tf.Tensor) -> dict[str, tf.Tensor]:
        return {value.dtype.name: tf.identity(value) for value in values}

    @tf.function(input_signature=[_spec([None], tf.int64, "steps")])
    def count(self, steps: tf.Tensor) -> dict[str, tf.Tensor]:
        """Counts one by one, which takes about a microsecond each: a request as slow as one likes."""
        total = tf.while_loop(lambda n: n < steps[0], lambda n: (n + 1,), (tf.constant(0, tf.int64),))
        return {"total": tf.reshape(total[0], [1])}

    @tf.function(input_signature=[_spec([None], tf.float32, "x")])
    def fail(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.debugging.Assert(tf.size(x) < 0, [FAILURE])]):
            return {"y": tf.identity(x)}


def write_toy_model(directory: pathlib.Path) -> pathlib.Path:
    """Saves a ToyModel at `directory`, a version directory, and returns it."""
    model = ToyModel()
    signatures = {
        "serving_default": model.recommend,
        "scale": model.scale,
        "echo": model.echo,
        "count": model.count,
        "fail": model.fail,
    }
    tf.saved_model.save(model, str(directory), signatures=signatures)
    return directory


def predict_log(request: predict_pb2.PredictRequest) -> prediction_log_pb2.PredictionLog:
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))


def write_warmup_records(servable: pathlib.Path, records: Sequence[bytes]) -> None:
    """Gives a version directory a warmup file of these records."""
    extra = servable / "assets.extra"
    extra.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)
