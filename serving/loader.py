"""One loaded version: a SavedModel run by the Session loader, which is how TensorFlow Serving runs it."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from protos.quiet import standard_error_discarded
from serving.replay import replay_warmup
from serving.signatures import DEFAULT_SIGNATURE, Step, find_signature, plan
from serving.status import StatusError, code_of
from serving.tensors import TensorError, write_tensor
from serving.threads import session_config

_LONGEST_TIMEOUT_MS = 2**31 - 1  # RunOptions counts further, but nobody waits longer than 24 days


@functools.cache
def _hear_notices() -> None:
    """Runs a session for nothing: the first one of a process says that it does without MLIR."""
    with standard_error_discarded(), tf.Graph().as_default(), tf.compat.v1.Session(config=session_config()) as session:
        session.run(tf.constant(0))


class Servable:
    """A version that answers Predict. Its memory is freed when the last reference to it goes.

    Attributes:
      version: the number of its directory.
      signatures: by name, as GetModelMetadata shows them.
    """

    def __init__(self, path: str | os.PathLike[str], version: int) -> None:
        """Loads the SavedModel at `path` and replays its warmup requests.

        Raises:
          StatusError: the SavedModel cannot be loaded, or a warmup request fails.
        """
        self.version = version
        graph = tf.Graph()
        _hear_notices()
        self._session = tf.compat.v1.Session(graph=graph, config=session_config())
        with _load_errors(path), _without_deprecations(), graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(self._session, ["serve"], os.fspath(path))
        self.signatures: Mapping[str, meta_graph_pb2.SignatureDef] = dict(meta_graph.signature_def)
        graph.finalize()  # requests add no nodes, so they may run side by side
        replay_warmup(pathlib.Path(path), self.predict)

    def predict(
        self,
        request: predict_pb2.PredictRequest,
        timeout: float | None = None,
        observe: Callable[[float], None] | None = None,
    ) -> predict_pb2.PredictResponse:
        """Answers a request that is meant for this version.

        Args:
          request: inputs, output filter and signature; the model's name is repeated in the answer.
          timeout: seconds after which the run is given up; None waits.
          observe: is told how many seconds the graph took.

        Raises:
          StatusError: see `serving.signatures`; DEADLINE_EXCEEDED after the timeout; and the code of
            whatever operation of the graph failed.
        """
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        step = plan(find_signature(self.signatures, name), request)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = name
        response.model_spec.version.value = self.version
        start = time.perf_counter()
        arrays = self._run(step, timeout)
        if observe is not None:
            observe(time.perf_counter() - start)
        for alias in step.outputs:
            try:
                write_tensor(arrays[alias], response.outputs[alias])
            except TensorError as error:
                raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"output {alias}: {error}") from error
        return response

    def close(self) -> None:
        """Cancels what is running, and all that would be run from now on."""
        self._session.close()

    def _run(self, step: Step, timeout: float | None) -> dict[str, np.ndarray]:
        options = None
        if timeout is not None:
            milliseconds = min(int(timeout * 1000), _LONGEST_TIMEOUT_MS)
            if milliseconds <= 0:  # which would mean to wait for ever
                raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline exceeded before the model was run")
            options = tf.compat.v1.RunOptions(timeout_in_ms=milliseconds)
        try:
            return self._session.run(dict(step.fetches), dict(step.feeds), options=options)
        except tf.errors.OpError as error:
            raise StatusError(code_of(error.error_code), error.message) from error


@contextlib.contextmanager
def _load_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        raise StatusError(code_of(error.error_code), f"cannot load {path}: {error.message}") from error
    except (OSError, RuntimeError, ValueError) as error:  # no SavedModel, no "serve" graph, an unknown operation
        raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, f"cannot load {path}: {error}") from error


@contextlib.contextmanager
def _without_deprecations() -> Iterator[None]:
    """TensorFlow calls its Session loader deprecated; TensorFlow Serving uses it all the same."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
