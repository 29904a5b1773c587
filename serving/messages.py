"""What a client asks and what it reads out of the answers, apart from any channel. No TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from protos import predict_pb2
from serving.tensors import read_tensor, type_name, write_tensor

DEFAULT_SIGNATURE = "serving_default"
SIGNATURE_DEF = "signature_def"
RECOMMENDATION_OUTPUTS = ("item_ids", "scores", "valid", "codes", "keys", "fallback")
# Histories are padded to a multiple of this, so that nearly all requests have one width and the
# server's batching can join them.
HISTORY_WIDTH = 64


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """What one history was answered, best item first.

    Attributes:
      item_ids: public ids, at most as many as the model was exported to return.
      scores: one an item, descending.
      codes: of each quantised token, its code in every codebook.
      keys: of each quantised token the key that was looked up, after fallback; then of each event the key of
        its list, -1 where there is none.
      fallback: one a key: whether a token's own code had no list and another stood in; never of an event.
      model_version: the version that answered.
    """

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    codes: tuple[tuple[int, ...], ...]
    keys: tuple[int, ...]
    fallback: tuple[bool, ...]
    model_version: int


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature. A size that varies is None, and so is the shape of unknown rank."""

    dtype: str
    shape: tuple[int | None, ...] | None
    optional: bool = False


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
    target: Target, inputs: Mapping[str, np.ndarray | Sequence[Any]], output_filter: Sequence[str] = ()
) -> predict_pb2.PredictRequest:
    """A Predict request.

    Raises:
      serving.tensors.TensorError: an input that is no array, or of no type of TensorFlow's.
    """
    request = predict_pb2.PredictRequest(model_spec=target.spec(), output_filter=output_filter)
    for name, values in inputs.items():
        write_tensor(values, request.inputs[name])
    return request


def recommend_request(target: Target, histories: Sequence[Sequence[str]]) -> predict_pb2.PredictRequest:
    """The request for one recommendation a history, at least one."""
    return predict_request(target, {"history": pad_histories(histories)}, RECOMMENDATION_OUTPUTS)


def pad_histories(histories: Sequence[Sequence[str]]) -> np.ndarray:
    """The histories as `[B, W]`, filled up with "", where W is the multiple of HISTORY_WIDTH that holds the longest.

    Nothing is cut: the model ignores unknown ids before it counts, and leaves out all that was seen.

    Raises:
      TypeError: a history is a string, which would be taken for a list of one-letter ids.
    """
    for history in histories:
        if isinstance(history, str | bytes):
            raise TypeError(f"the history {history!r} is one string; expected a list of item ids")
    longest = max(map(len, histories))
    width = HISTORY_WIDTH * max(1, -(-longest // HISTORY_WIDTH))
    padded = np.full((len(histories), width), "", dtype=object)
    for row, history in enumerate(histories):
        padded[row, : len(history)] = history
    return padded


def read_outputs(response: predict_pb2.PredictResponse) -> dict[str, np.ndarray]:
    """The outputs by name; strings are arrays of bytes."""
    return {name: read_tensor(proto) for name, proto in response.outputs.items()}


def read_recommendations(response: predict_pb2.PredictResponse) -> list[Recommendation]:
    """The answer to `recommend_request`; places that hold no item are left out."""
    outputs = read_outputs(response)
    version = response.model_spec.version.value
    return [_read_row(dict(zip(outputs, row, strict=True)), version) for row in zip(*outputs.values(), strict=True)]


def _read_row(row: Mapping[str, np.ndarray], version: int) -> Recommendation:
    valid = row["valid"]
    return Recommendation(
        item_ids=tuple(item.decode() for item in row["item_ids"][valid]),
        scores=tuple(row["scores"][valid].tolist()),
        codes=tuple(map(tuple, row["codes"].tolist())),
        keys=tuple(row["keys"].tolist()),
        fallback=tuple(row["fallback"].tolist()),
        model_version=version,
    )


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
    return Signature(
        inputs={name: _read_spec(info, name in proto.defaults) for name, info in proto.inputs.items()},
        outputs={name: _read_spec(info, optional=False) for name, info in proto.outputs.items()},
    )


def _read_spec(info: predict_pb2.TensorInfo, optional: bool) -> TensorSpec:
    sizes = tuple(None if dim.size == -1 else dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(type_name(info.dtype), None if info.tensor_shape.unknown_rank else sizes, optional)


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
