"""Warmup requests: what TensorFlow Serving runs before it lets users at a new version."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from serving.inputs import WIDTHS
from serving.samples import Samples

WARMUP_FILE = "tf_serving_warmup_requests"
BATCH_SIZES = (1, 8, 32)

Inputs = Mapping[str, np.ndarray]


def write_warmup(directory: pathlib.Path, samples: Samples, k: int, categories: Sequence[str]) -> None:
    """Writes requests of every signature and batch size to `directory / WARMUP_FILE`, a TFRecord of PredictionLog.

    Args:
      directory: `assets.extra` of the servable.
      samples: queries to ask.
      k: items to ask for.
      categories: of items, to choose by.
    """
    with tf.io.TFRecordWriter(str(directory / WARMUP_FILE)) as writer:
        for size in BATCH_SIZES:
            for signature, inputs in _requests(samples.batch(size), k, categories):
                writer.write(_request_log(signature, inputs).SerializeToString())


def _requests(query: Inputs, k: int, categories: Sequence[str]) -> Iterator[tuple[str, Inputs]]:
    """Without choices, which leaves their branches of the graph out, and with all of them."""
    for signature in ("serving_default", "encode", "recommend", "explain"):
        yield signature, query
    choices = _choices(query["history"], k, categories)
    for signature in ("recommend", "explain"):
        yield signature, {**query, **choices}


def _choices(history: np.ndarray, k: int, categories: Sequence[str]) -> Inputs:
    size = len(history)
    strings = {name: np.full((size, width), "", object) for name, width in WIDTHS.items()}
    excluded = history[:, : WIDTHS["exclude_ids"]]
    strings["exclude_ids"][:, : excluded.shape[1]] = excluded
    strings["allow_categories"][:, : len(categories[:-1])] = categories[:-1][: WIDTHS["allow_categories"]]
    strings["deny_categories"][:, : len(categories[-1:])] = categories[-1:]
    return {"k": np.full(size, k, np.int32), "include_seen": np.zeros(size, bool), **strings}


def _request_log(signature: str, inputs: Inputs) -> prediction_log_pb2.PredictionLog:
    # The server runs warmup on the model it loads: the request needs no model name.
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
