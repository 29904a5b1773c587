"""What a client says and hears, call by call; who carries the calls, and whether they wait, is not known here.

A conversation is a generator that yields calls and pauses, is sent the responses, and returns what was
learnt. So the client that blocks and the one that awaits share all of it.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import grpc
from google.protobuf.message import Message

from protos import predict_pb2
from serving.client.answers import (
    ENCODE_OUTPUTS,
    EXPLAIN_OUTPUTS,
    RECOMMEND_OUTPUTS,
    Encoding,
    Explanation,
    Recommendation,
    read_encodings,
    read_explanations,
    read_recommendations,
)
from serving.client.channel import PredictError
from serving.client.messages import (
    DEFAULT_SIGNATURE,
    ModelMetadata,
    Signature,
    Target,
    VersionStatus,
    metadata_request,
    predict_request,
    read_metadata,
    read_status,
    status_request,
)
from serving.client.queries import HISTORY_ONLY, Query, Row, as_queries, tensors

if TYPE_CHECKING:
    import numpy as np

_READY_POLL_SECONDS = 0.1
_NOT_READY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.NOT_FOUND)
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class Call:
    """One gRPC call.

    Attributes:
      method: the path on the wire.
      request: its message.
      response: the class of the answer.
      seconds: the most that it may take, within what the whole conversation may.
    """

    method: str
    request: Message
    response: type[Message]
    seconds: float = float("inf")

    def seconds_until(self, deadline: float) -> float:
        """How long it may take when all must be over by `deadline`, of time.monotonic; 0 when that has passed."""
        return max(min(self.seconds, deadline - time.monotonic()), 0.0)

    def failed(self, error: grpc.RpcError, address: str) -> PredictError:
        """What its caller is told."""
        name = self.method.rpartition("/")[2]
        return PredictError(error.code(), error.details() or "", f"{name} at {address}")


class Pause(NamedTuple):
    """Nothing to be said for so long."""

    seconds: float


Steps = Generator[Call | Pause, Any, _Result]


class _Question(NamedTuple):
    """A signature that takes queries, and how its answers are read."""

    signature: str
    outputs: Sequence[str]
    read: Callable[[predict_pb2.PredictResponse], list]


_DEFAULT = _Question(DEFAULT_SIGNATURE, RECOMMEND_OUTPUTS, read_recommendations)
_RECOMMEND = _Question("recommend", RECOMMEND_OUTPUTS, read_recommendations)
_EXPLAIN = _Question("explain", EXPLAIN_OUTPUTS, read_explanations)
_ENCODE = _Question("encode", ENCODE_OUTPUTS, read_encodings)


class Conversation:
    """All that can be said about one model at one address, from many threads side by side."""

    def __init__(self, address: str, model: str) -> None:
        self.address = address
        self.model = model
        self._metadata: dict[int | None, ModelMetadata] = {}  # by the version asked for

    def recommend(self, rows: Sequence[Row], version: int | None) -> Steps[list[Recommendation]]:
        """Asks `serving_default` where histories are all there is, and `recommend` where anything else is given."""
        queries = as_queries(rows)
        plain = all(query.inputs().keys() == {"history"} for query in queries)
        return self._ask(_DEFAULT if plain else _RECOMMEND, queries, version)

    def explain(self, rows: Sequence[Row], version: int | None) -> Steps[list[Explanation]]:
        """Asks `explain`."""
        return self._ask(_EXPLAIN, as_queries(rows), version)

    def encode(self, rows: Sequence[Row], version: int | None) -> Steps[list[Encoding]]:
        """Asks `encode`."""
        return self._ask(_ENCODE, as_queries(rows), version)

    def predict(
        self, inputs: Mapping[str, np.ndarray | Sequence[Any]], target: Target, output_filter: Sequence[str]
    ) -> Steps[dict[str, np.ndarray]]:
        """Runs any signature on arrays."""
        from serving.tensors import read_tensor, write_tensor  # NumPy, which the other calls do without

        request = predict_request(target, {}, output_filter)
        for name, values in inputs.items():
            write_tensor(values, request.inputs[name])
        response = yield _predict(request)
        return {name: read_tensor(proto) for name, proto in response.outputs.items()}

    def metadata(self, version: int | None = None) -> Steps[ModelMetadata]:
        """Asks for the signatures of a version."""
        request = metadata_request(Target(self.model, version=version))
        method = "/tensorflow.serving.PredictionService/GetModelMetadata"
        return read_metadata((yield Call(method, request, predict_pb2.GetModelMetadataResponse)))

    def status(self, seconds: float = float("inf")) -> Steps[list[VersionStatus]]:
        """Asks how the versions stand."""
        method = "/tensorflow.serving.ModelService/GetModelStatus"
        request = status_request(Target(self.model))
        return read_status((yield Call(method, request, predict_pb2.GetModelStatusResponse, seconds)))

    def wait_until_ready(self, timeout: float, call_timeout: float) -> Steps[int]:
        """Asks again and again until a version is available."""
        deadline, reason = time.monotonic() + timeout, None
        while True:
            left = deadline - time.monotonic()
            try:
                statuses = yield from self.status(min(call_timeout, max(left, _READY_POLL_SECONDS)))
                return self._newest_available(statuses)
            except PredictError as error:
                if reason is None or error.code != grpc.StatusCode.DEADLINE_EXCEEDED:
                    reason = error  # that time is over says less than what filled it
                if error.code not in _NOT_READY or left <= 0:
                    raise reason from None
            yield Pause(_READY_POLL_SECONDS)

    def _newest_available(self, statuses: Sequence[VersionStatus]) -> int:
        available = [status.version for status in statuses if status.state == "AVAILABLE"]
        if not available:
            message = f"no version of {self.model} is available, but {statuses}"
            raise PredictError(grpc.StatusCode.UNAVAILABLE, message, f"GetModelStatus at {self.address}")
        return max(available)

    def _ask(self, question: _Question, queries: Sequence[Query], version: int | None) -> Steps[list]:
        if not queries:
            return []
        signature = yield from self._signature(question, version)
        try:
            return (yield from self._put(question, queries, version, signature))
        except PredictError as error:
            if error.code != grpc.StatusCode.INVALID_ARGUMENT:
                raise
            fresh = (yield from self._refresh(version)).signatures.get(question.signature)
            if fresh is None or fresh.inputs == signature.inputs:
                raise
        # The model takes features besides histories, or a version with other inputs has been swapped in.
        return (yield from self._put(question, queries, version, fresh))

    def _put(
        self, question: _Question, queries: Sequence[Query], version: int | None, signature: Signature
    ) -> Steps[list]:
        target = Target(self.model, question.signature, version)
        response = yield _predict(predict_request(target, tensors(queries, signature), question.outputs))
        known = self._metadata.get(version)
        if known and known.model_version != response.model_spec.version.value:
            self._metadata.pop(version, None)  # its defaults may be others
        return question.read(response)

    def _signature(self, question: _Question, version: int | None) -> Steps[Signature]:
        """What a signature takes; of `serving_default` a first guess, which spares a call."""
        name, known = question.signature, self._metadata.get(version)
        if question is _DEFAULT:
            return known.signatures.get(name, HISTORY_ONLY) if known else HISTORY_ONLY
        if known is None or name not in known.signatures:
            known = yield from self._refresh(version)
        if name not in known.signatures:
            message = (
                f"version {known.model_version} of {self.model} has no signature {name!r}, which the query needs; it"
                f" has {', '.join(sorted(known.signatures))}"
            )
            raise PredictError(grpc.StatusCode.FAILED_PRECONDITION, message, f"Predict at {self.address}")
        return known.signatures[name]

    def _refresh(self, version: int | None) -> Steps[ModelMetadata]:
        self._metadata[version] = yield from self.metadata(version)
        return self._metadata[version]


def _predict(request: predict_pb2.PredictRequest) -> Call:
    return Call("/tensorflow.serving.PredictionService/Predict", request, predict_pb2.PredictResponse)
