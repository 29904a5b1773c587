"""A client of served SparCode models that needs no TensorFlow: gRPC, protobuf and NumPy.

It speaks to `python -m serving.server` and to the stock tensorflow/serving image alike.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message

from protos import predict_pb2
from protos.errors import UserError, run_cli
from serving.messages import (
    DEFAULT_SIGNATURE,
    ModelMetadata,
    Recommendation,
    Target,
    VersionStatus,
    metadata_request,
    predict_request,
    read_metadata,
    read_outputs,
    read_recommendations,
    read_status,
    recommend_request,
    status_request,
)

DEFAULT_ADDRESS = "127.0.0.1:8500"
DEFAULT_MODEL = "sparcode"
DEFAULT_TIMEOUT_SECONDS = 5.0
_PREFIX = "/tensorflow.serving."
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 256 << 20),  # gRPC's 4 MiB are a few hundred long answers
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)
_READY_POLL_SECONDS = 0.1
_NOT_READY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.NOT_FOUND)
_Response = TypeVar("_Response", bound=Message)


class PredictError(Exception):
    """A call that was not answered.

    Attributes:
      code: gRPC's status code. NOT_FOUND: the model or version is not loaded; FAILED_PRECONDITION: it has
        no such signature; INVALID_ARGUMENT: the request is wrong; UNAVAILABLE: there is no server;
        DEADLINE_EXCEEDED: no answer in time.
      message: the server's words, or gRPC's where no server was reached.
    """

    def __init__(self, code: grpc.StatusCode, message: str, call: str) -> None:
        super().__init__(f"{call}: {code.name}: {message}")
        self.code = code
        self.message = message


class RecommendClient:
    """Asks one server for recommendations, over one channel, from as many threads as you like.

    Example:
      with RecommendClient("127.0.0.1:8500") as client:
          for answer in client.recommend([["1", "260"], ["527"]]):
              print(answer.item_ids, answer.scores)
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, model: str = DEFAULT_MODEL, timeout: float = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        """Connects with the first call.

        Args:
          address: host:port, or any name that gRPC resolves.
          model: what the server calls the model.
          timeout: seconds that a call may take where it is not told otherwise.
        """
        self.address = address
        self.model = model
        self.timeout = timeout
        self._channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)

    def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        self._channel.close()

    def __enter__(self) -> RecommendClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def recommend(
        self, histories: Sequence[Sequence[str]], version: int | None = None, timeout: float | None = None
    ) -> list[Recommendation]:
        """Recommendations for a batch of histories, in one request.

        Args:
          histories: for each user the public ids of what they saw, oldest first. Unknown ids are ignored;
            an empty history is answered too.
          version: the model's version; None is the newest.
          timeout: seconds; None is the client's.

        Returns:
          One recommendation a history.

        Raises:
          PredictError: there was no answer.
        """
        if not histories:
            return []
        request = recommend_request(Target(self.model, version=version), histories)
        return read_recommendations(self._predict(request, timeout))

    def predict(
        self,
        inputs: Mapping[str, np.ndarray | Sequence[Any]],
        signature: str = DEFAULT_SIGNATURE,
        output_filter: Sequence[str] = (),
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs any signature of the newest version.

        Args:
          inputs: by name. Lists of Python's integers are sent as int64, of its floats as float64.
          signature: its name.
          output_filter: the outputs wanted; none means all.
          timeout: seconds; None is the client's.

        Returns:
          The outputs by name; strings are arrays of bytes.

        Raises:
          PredictError: there was no answer.
          serving.tensors.TensorError: an input that is no array, or of no type of TensorFlow's.
        """
        request = predict_request(Target(self.model, signature), inputs, output_filter)
        return read_outputs(self._predict(request, timeout))

    def metadata(self, timeout: float | None = None) -> ModelMetadata:
        """The signatures of the newest version.

        Raises:
          PredictError: there was no answer.
        """
        request = metadata_request(Target(self.model))
        method = "PredictionService/GetModelMetadata"
        return read_metadata(self._call(method, request, predict_pb2.GetModelMetadataResponse.FromString, timeout))

    def status(self, timeout: float | None = None) -> list[VersionStatus]:
        """How the versions stand that the server has seen, newest first.

        Raises:
          PredictError: there was no answer; NOT_FOUND where the server has no such model.
        """
        request = status_request(Target(self.model))
        method = "ModelService/GetModelStatus"
        return read_status(self._call(method, request, predict_pb2.GetModelStatusResponse.FromString, timeout))

    def wait_until_ready(self, timeout: float = 60.0) -> int:
        """Waits until the server is up and a version answers; returns the newest such version.

        Raises:
          PredictError: what stood in the way when `timeout` seconds were over, or an answer that no waiting
            will change.
        """
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            try:
                return self._newest_available(timeout=min(self.timeout, max(left, _READY_POLL_SECONDS)))
            except PredictError as error:
                if error.code not in _NOT_READY or left <= 0:
                    raise
            time.sleep(_READY_POLL_SECONDS)

    def _newest_available(self, timeout: float) -> int:
        statuses = self.status(timeout)
        available = [status.version for status in statuses if status.state == "AVAILABLE"]
        if not available:
            message = f"no version of {self.model} is available, but {statuses}"
            raise PredictError(grpc.StatusCode.UNAVAILABLE, message, f"GetModelStatus at {self.address}")
        return max(available)

    def _predict(self, request: predict_pb2.PredictRequest, timeout: float | None) -> predict_pb2.PredictResponse:
        return self._call("PredictionService/Predict", request, predict_pb2.PredictResponse.FromString, timeout)

    def _call(
        self, method: str, request: Message, read: Callable[[bytes], _Response], timeout: float | None
    ) -> _Response:
        call = self._channel.unary_unary(
            _PREFIX + method, request_serializer=type(request).SerializeToString, response_deserializer=read
        )
        try:
            return call(request, timeout=self.timeout if timeout is None else timeout)
        except grpc.RpcError as error:
            name = method.rpartition("/")[2]
            raise PredictError(error.code(), error.details() or "", f"{name} at {self.address}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.client",
        description=(
            "Ask a served SparCode model what it recommends to users who saw the items of --history. Needs no"
            " TensorFlow. The server is python -m serving.server or the stock tensorflow/serving image."
        ),
        epilog='example: python -m serving.client --address 127.0.0.1:8500 --history "1,260,527" --k 5',
    )
    parser.add_argument("--address", default=DEFAULT_ADDRESS, help="host:port of the server (default: %(default)s)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="what the server calls it (default: %(default)s)")
    parser.add_argument(
        "--history",
        action="append",
        required=True,
        metavar="IDS",
        help='public item ids, oldest first, commas between; "" is a new user; give it again to ask for more users',
    )
    parser.add_argument("--k", type=int, default=10, help="items to show of those returned (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_SECONDS, help="seconds (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print a JSON list, one object a history")
    return parser


def main(argv: Sequence[str]) -> None:
    """Asks once and prints."""
    flags = _parser().parse_args(argv)
    if flags.k < 1:
        raise UserError(f"--k {flags.k}: expected at least 1")
    histories = [[item.strip() for item in history.split(",") if item.strip()] for history in flags.history]
    with RecommendClient(flags.address, flags.model, flags.timeout) as client:
        try:
            answers = client.recommend(histories)
        except PredictError as error:
            raise UserError(str(error)) from error
    shown = [_first(answer, flags.k) for answer in answers]
    if flags.json:
        rows = [
            {"history": history} | dataclasses.asdict(answer) for history, answer in zip(histories, shown, strict=True)
        ]
        print(json.dumps(rows, indent=1))
    else:
        print("\n\n".join("\n".join(_table(*pair)) for pair in zip(histories, shown, strict=True)))


def _first(answer: Recommendation, k: int) -> Recommendation:
    return dataclasses.replace(answer, item_ids=answer.item_ids[:k], scores=answer.scores[:k])


def _table(history: Sequence[str], answer: Recommendation) -> Iterator[str]:
    yield f"history: {', '.join(history) or '(none)'}    answered by version {answer.model_version}"
    width = max(map(len, ("item", *answer.item_ids)))
    yield f"rank  {'item':<{width}}  {'score':>10}"
    for rank, (item, score) in enumerate(zip(answer.item_ids, answer.scores, strict=True), start=1):
        yield f"{rank:>4}  {item:<{width}}  {score:>10.4f}"
    if not answer.item_ids:
        yield "      no item scores above zero"
    tokens = zip(answer.codes, answer.keys, answer.fallback, strict=False)  # the keys of events come after
    yield "codes: " + "  ".join(
        f"{'/'.join(map(str, code))} -> list {key}{' (its own has none)' if fell else ''}" for code, key, fell in tokens
    )
    if events := [key for key in answer.keys[len(answer.codes) :] if key >= 0]:
        yield "events: " + "  ".join(f"list {key}" for key in events)


if __name__ == "__main__":
    run_cli(main)
