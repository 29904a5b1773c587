"""Requests and answers that every model has: which model is meant, its signatures, its versions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from protos import predict_pb2
from serving.wire import Tensor, read, type_name, write

DEFAULT_SIGNATURE = "serving_default"
SIGNATURE_DEF = "signature_def"


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature. A size that varies is None, and so is the shape of unknown rank.

    Attributes:
      dtype: `string`, `float32`, ...
      shape: its sizes.
      default: of an input that may be left out, its value then, as lists within lists.
    """

    dtype: str
    shape: tuple[int | None, ...] | None
    default: Any = None

    @property
    def optional(self) -> bool:
        """Whether a request may leave it out."""
        return self.default is not None


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a signature takes and gives, by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclasses.dataclass(frozen=True)
class ModelMetadata:
    """The signatures of a version, by name."""

    model_version: int
    signatures: Mapping[str, Signature]


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """How a version stands: START, LOADING, AVAILABLE, UNLOADING or END, and why if it could not be loaded."""

    version: int
    state: str
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Target:
    """Which model a request means: its name, its signature, and its version, where None is the newest."""

    model: str
    signature: str = DEFAULT_SIGNATURE
    version: int | None = None

    def spec(self) -> predict_pb2.ModelSpec:
        """The message."""
        spec = predict_pb2.ModelSpec(name=self.model, signature_name=self.signature)
        if self.version is not None:
            spec.version.value = self.version
        return spec


def predict_request(
    target: Target, inputs: Mapping[str, Tensor], output_filter: Sequence[str] = ()
) -> predict_pb2.PredictRequest:
    """A Predict request.

    Raises:
      TensorError: a value that is not of its tensor's type.
    """
    request = predict_pb2.PredictRequest(model_spec=target.spec(), output_filter=output_filter)
    for name, tensor in inputs.items():
        write(tensor, request.inputs[name])
    return request


def metadata_request(target: Target) -> predict_pb2.GetModelMetadataRequest:
    """The request for a model's signatures."""
    return predict_pb2.GetModelMetadataRequest(model_spec=target.spec(), metadata_field=[SIGNATURE_DEF])


def read_metadata(response: predict_pb2.GetModelMetadataResponse) -> ModelMetadata:
    """The answer to `metadata_request`, without the signatures that are not for callers."""
    # Not Any.Unpack, which insists on the message's full name: our copy has another.
    signatures = predict_pb2.SignatureDefMap.FromString(response.metadata[SIGNATURE_DEF].value).signature_def
    return ModelMetadata(
        model_version=response.model_spec.version.value,
        signatures={name: _read_signature(proto) for name, proto in signatures.items() if proto.method_name},
    )


def _read_signature(proto: predict_pb2.SignatureDef) -> Signature:
    defaults = {name: read(tensor).nested() for name, tensor in proto.defaults.items()}
    return Signature(
        inputs={name: _read_spec(info, defaults.get(name)) for name, info in proto.inputs.items()},
        outputs={name: _read_spec(info) for name, info in proto.outputs.items()},
    )


def _read_spec(info: predict_pb2.TensorInfo, default: Any = None) -> TensorSpec:
    sizes = tuple(None if dim.size == -1 else dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(type_name(info.dtype), None if info.tensor_shape.unknown_rank else sizes, default)


def status_request(target: Target) -> predict_pb2.GetModelStatusRequest:
    """The request for how a model's versions stand."""
    return predict_pb2.GetModelStatusRequest(model_spec=target.spec())


def read_status(response: predict_pb2.GetModelStatusResponse) -> list[VersionStatus]:
    """The answer to `status_request`, in the server's order: newest first."""
    state_name = predict_pb2.ModelVersionStatus.State.Name
    return [
        VersionStatus(answer.version, state_name(answer.state), answer.status.error_message)
        for answer in response.model_version_status
    ]
