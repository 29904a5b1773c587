"""A Predict request against a signature: TensorFlow Serving's checks, in its order and its words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import grpc
import numpy as np
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from serving.status import StatusError, invalid_argument
from serving.tensors import TensorError, read_tensor, type_name

DEFAULT_SIGNATURE = "serving_default"
# A shape costs its sender nothing, and every row costs the model an answer. TensorFlow Serving has such a bound
# with batching: max_batch_size.
MAX_ROWS = 1024
_METHODS = tuple(f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))


@dataclasses.dataclass(frozen=True)
class Step:
    """What to run for a request.

    Attributes:
      feeds: names of tensors in the graph to the arrays fed to them.
      fetches: names of all outputs to the tensors in the graph. For every set of outputs that is ever fetched,
        TensorFlow keeps a plan of its own, so there is only one.
      outputs: names of the outputs asked for.
    """

    feeds: Mapping[str, np.ndarray]
    fetches: Mapping[str, str]
    outputs: Sequence[str]


def find_signature(signatures: Mapping[str, meta_graph_pb2.SignatureDef], name: str) -> meta_graph_pb2.SignatureDef:
    """The signature a request names.

    Raises:
      StatusError: FAILED_PRECONDITION when there is none of that name, INTERNAL when it is none to predict with.
    """
    if name not in signatures:
        raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    method = signatures[name].method_name
    if method not in _METHODS:
        raise StatusError(
            grpc.StatusCode.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(_METHODS)}}}. Was: {method}",
        )
    return signatures[name]


def plan(signature: meta_graph_pb2.SignatureDef, request: predict_pb2.PredictRequest) -> Step:
    """Checks a request's inputs and outputs and says what to feed and to fetch.

    Stricter than TensorFlow Serving in two things. It leaves shapes to the kernels, which mostly answer
    INVALID_ARGUMENT; here a shape that the signature rules out never reaches them. And it takes any number
    of rows where batching is off; here MAX_ROWS are the most.

    Raises:
      StatusError: INVALID_ARGUMENT for a missing, unknown, unreadable, wrongly typed or wrongly shaped
        input, for too many rows, and for an unknown or repeated output.
    """
    _check_input_names(signature, request.inputs)
    arrays = _read_inputs(signature, request.inputs)
    _check_types(signature, arrays)
    _check_shapes(signature, arrays)
    _check_rows(arrays)
    feeds = {signature.inputs[alias].name: array for alias, (_, array) in arrays.items()}
    fetches = {alias: info.name for alias, info in signature.outputs.items()}
    return Step(feeds, fetches, _outputs(signature, request.output_filter))


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def _check_input_names(signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, tensor_pb2.TensorProto]) -> None:
    sent, wanted = set(inputs), set(signature.inputs)
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(wanted)}"
            f" len({{{_joined(sent)}}}) != len({{{_joined(wanted)}}})."
            f" Sent extra: {{{_joined(sent - wanted)}}}. Missing but required: {{{_joined(wanted - sent)}}}."
        )
    for alias in sorted(wanted - sent - set(signature.defaults)):
        raise invalid_argument(
            f"Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in request and no"
            f" default value provided. Inputs expected to be in the request {{{_joined(sent)}}}, or default input"
            f" alias set: {_joined(signature.defaults)}"
        )
    if sent - wanted:
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {_joined(sent & wanted)}, request input: "
            f"{_joined(sent)}"
        )


def _read_inputs(
    signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, tensor_pb2.TensorProto]
) -> dict[str, tuple[int, np.ndarray]]:
    """Type number and array of every input, in the order of the graph's names."""
    read = {}
    for alias in sorted(signature.inputs, key=lambda alias: signature.inputs[alias].name):
        proto = inputs[alias] if alias in inputs else signature.defaults[alias]
        try:
            read[alias] = (proto.dtype, read_tensor(proto))
        except TensorError as error:
            raise invalid_argument(f"tensor parsing error: {alias} ({error})") from error
    return read


def _check_types(signature: meta_graph_pb2.SignatureDef, arrays: Mapping[str, tuple[int, np.ndarray]]) -> None:
    for position, (alias, (dtype, _)) in enumerate(arrays.items()):
        wanted = signature.inputs[alias].dtype
        if dtype != wanted:
            raise invalid_argument(
                f"Expects arg[{position}] to be {_session_name(wanted)} but {_session_name(dtype)} is provided (input"
                f' "{alias}")'
            )


def _session_name(dtype: int) -> str:
    """The name that TensorFlow's runtime gives a type in its messages."""
    return {"float32": "float", "float64": "double", "float16": "half"}.get(type_name(dtype), type_name(dtype))


def _check_shapes(signature: meta_graph_pb2.SignatureDef, arrays: Mapping[str, tuple[int, np.ndarray]]) -> None:
    for alias, (_, array) in arrays.items():
        wanted = signature.inputs[alias].tensor_shape
        if wanted.unknown_rank:
            continue
        sizes = [dim.size for dim in wanted.dim]
        if len(sizes) != array.ndim or any(size not in (-1, got) for size, got in zip(sizes, array.shape, strict=True)):
            raise invalid_argument(
                f'input "{alias}" has shape {_shape_text(array.shape)}, the signature takes {_shape_text(sizes)}'
            )


def _check_rows(arrays: Mapping[str, tuple[int, np.ndarray]]) -> None:
    for _, array in arrays.values():
        if array.ndim and len(array) > MAX_ROWS:
            raise invalid_argument(f"Task size {len(array)} is larger than maximum input batch size {MAX_ROWS}")


def _shape_text(sizes: Sequence[int]) -> str:
    return f"[{','.join('?' if size == -1 else str(size) for size in sizes)}]"


def _outputs(signature: meta_graph_pb2.SignatureDef, output_filter: Sequence[str]) -> Sequence[str]:
    outputs: set[str] = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set"
                f" {{{_joined(signature.outputs)}}}."
            )
        if alias in outputs:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        outputs.add(alias)
    return list(output_filter) or sorted(signature.outputs)
