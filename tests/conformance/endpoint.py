"""One model of a server, asked over the wire: gRPC, protobuf and NumPy, no TensorFlow and none of the server's code."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import grpc
import numpy as np
from google.protobuf.message import Message

from protos import predict_pb2
from serving.tensors import read_tensor, type_name, write_tensor

TIMEOUT_SECONDS = 60.0
ALL = 2**31 - 1  # as k: as many items as the model returns
# Requests of one width can be joined by the server's own batching; those of the suite have few widths.
HISTORY_WIDTH = 32
_MISSING = {"string": "", "float32": np.nan}
_PREFIX = "/tensorflow.serving."
_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_Response = TypeVar("_Response", bound=Message)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to ask; `from_environment` reads it from variables named CONFORMANCE_ENDPOINT and so on.

    Attributes:
      endpoint: host:port.
      model: what the server calls the model.
      ca: PEM file of who signed the server's certificate; with it the connection is TLS.
      cert: PEM file of the client's certificate, for mutual TLS.
      key: PEM file of its key.
      items: known ids, commas between; empty where the model recommends something to who has no history.
      categories: some categories of the servable's items, commas between; empty leaves their tests out.
      batching: not empty: the server batches, so that every input of a request must have the same first dimension.
    """

    endpoint: str
    model: str = "sparcode"
    ca: str = ""
    cert: str = ""
    key: str = ""
    items: str = ""
    categories: str = ""
    batching: str = ""

    @classmethod
    def from_environment(cls) -> Settings | None:
        """None where no endpoint is named."""
        values = {field.name: os.environ.get(variable(field.name), "") for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if value}) if values["endpoint"] else None

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads."""
        return {variable(name): value for name, value in dataclasses.asdict(self).items()}

    def channel(self) -> grpc.Channel:
        """A channel to the endpoint."""
        if not self.ca:
            return grpc.insecure_channel(self.endpoint, _OPTIONS)
        files = (pathlib.Path(path).read_bytes() if path else None for path in (self.ca, self.key, self.cert))
        return grpc.secure_channel(self.endpoint, grpc.ssl_channel_credentials(*files), _OPTIONS)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"CONFORMANCE_{name.upper()}"


class Endpoint:
    """Asks one model. Every method raises grpc.RpcError where the call fails.

    Attributes:
      settings: as given.
      signatures: by name, of the newest version when the suite began.
      version: that version.
    """

    def __init__(self, settings: Settings) -> None:
        """Connects and asks for the metadata."""
        self.settings = settings
        self.channel = settings.channel()
        answer = self.metadata()
        # Not Any.Unpack, which insists on the message's full name: our copy has another.
        signatures = predict_pb2.SignatureDefMap.FromString(answer.metadata["signature_def"].value).signature_def
        self.signatures = {name: signature for name, signature in signatures.items() if signature.method_name}
        self.version = answer.model_spec.version.value

    def spec(self, signature: str = "") -> predict_pb2.ModelSpec:
        """The model, in its newest version."""
        return predict_pb2.ModelSpec(name=self.settings.model, signature_name=signature)

    def metadata(self, **fields: Any) -> predict_pb2.GetModelMetadataResponse:
        """Asks for the signatures; `fields` replace those of the request."""
        given = {"model_spec": self.spec(), "metadata_field": ["signature_def"]} | fields
        request = predict_pb2.GetModelMetadataRequest(**given)
        return self._call(
            "PredictionService/GetModelMetadata", request, predict_pb2.GetModelMetadataResponse.FromString
        )

    def status(self, model: str | None = None) -> predict_pb2.GetModelStatusResponse:
        """Asks how the versions of a model stand."""
        spec = self.spec() if model is None else predict_pb2.ModelSpec(name=model)
        request = predict_pb2.GetModelStatusRequest(model_spec=spec)
        return self._call("ModelService/GetModelStatus", request, predict_pb2.GetModelStatusResponse.FromString)

    def predict(
        self, request: predict_pb2.PredictRequest, timeout: float = TIMEOUT_SECONDS
    ) -> predict_pb2.PredictResponse:
        """Sends a request as it is."""
        return self._call("PredictionService/Predict", request, predict_pb2.PredictResponse.FromString, timeout)

    def request(self, signature: str, histories: Sequence[Sequence[str]], **choices: Any) -> predict_pb2.PredictRequest:
        """A request that spells out every input of a signature: what is not chosen is what the signature defaults to.

        Args:
          signature: its name.
          histories: B lists of ids.
          choices: by the name of the input, one a history: numbers, or lists of strings.
        """
        request = predict_pb2.PredictRequest(model_spec=self.spec(signature))
        declared = self.signatures[signature]
        history = padded(histories, HISTORY_WIDTH)
        for name, info in declared.inputs.items():
            if name == "history":
                values = history
            elif name in choices:
                values = as_input(choices[name], type_name(info.dtype))
            elif name in declared.defaults:
                values = np.repeat(read_tensor(declared.defaults[name]), len(histories), axis=0)
            else:
                values = missing_feature(info, history.shape)
            write_tensor(values, request.inputs[name])
        return request

    def ask(self, signature: str, histories: Sequence[Sequence[str]], **choices: Any) -> dict[str, np.ndarray]:
        """The outputs of a signature, by name; see `request`."""
        return outputs_of(self.predict(self.request(signature, histories, **choices)))

    def _call(
        self,
        method: str,
        request: Message,
        read: Callable[[bytes], _Response],
        timeout: float = TIMEOUT_SECONDS,
    ) -> _Response:
        call = self.channel.unary_unary(
            _PREFIX + method, request_serializer=type(request).SerializeToString, response_deserializer=read
        )
        return call(request, timeout=timeout)


def outputs_of(response: predict_pb2.PredictResponse) -> dict[str, np.ndarray]:
    """The outputs by name; strings are bytes."""
    return {name: read_tensor(proto) for name, proto in response.outputs.items()}


def padded(lists: Sequence[Sequence[str]], width: int) -> np.ndarray:
    """Lists of strings as `[B, W]`, filled up with ""; W is `width` times what the longest needs."""
    longest = max(map(len, lists), default=0)
    array = np.full((len(lists), width * max(1, -(-longest // width))), "", object)
    for row, strings in zip(array, lists, strict=True):
        row[: len(strings)] = strings
    return array


def as_input(values: Sequence[Any], dtype: str) -> np.ndarray:
    """A choice as the tensor of its input."""
    return padded(values, 8) if dtype == "string" else np.array(values, dtype)


def missing_feature(info: predict_pb2.TensorInfo, history_shape: tuple[int, int]) -> np.ndarray:
    """A query feature of which no value is known; its second dimension, where open, is as wide as the history."""
    sizes = [dim.size for dim in info.tensor_shape.dim]
    shape = [given if size == -1 else size for size, given in zip(sizes, (*history_shape, 1), strict=False)]
    dtype = type_name(info.dtype)
    return np.full(shape, _MISSING[dtype], object if dtype == "string" else dtype)


def ranked(outputs: Mapping[str, np.ndarray]) -> list[list[tuple[str, float]]]:
    """The items and scores of each query, checked: valid ones first, by descending score, none twice, then nothing."""
    rows = []
    for ids, scores, valid in zip(outputs["item_ids"], outputs["scores"], outputs["valid"], strict=True):
        count = int(valid.sum())
        assert valid[:count].all(), "an item stands after a place that is not valid"
        assert not any(ids[count:]), "a place that is not valid has an id"
        assert not scores[count:].any(), "a place that is not valid has a score"
        assert all(ids[:count]), "a valid place has no id"
        assert (scores[:count] > 0).all(), "an item scores 0 or less"
        assert (np.diff(scores[:count]) <= 0).all(), "scores are not descending"
        assert len(set(ids[:count])) == count, "an item is there twice"
        rows.append([(item.decode(), float(score)) for item, score in zip(ids[:count], scores[:count], strict=True)])
    return rows
