"""Classify, Regress and MultiInference: what TensorFlow Serving says to them about models made for Predict.

It checks a signature's inputs and outputs before it reads the examples. Signatures of SparCode do not pass, and
are refused in its words; one that would pass is not run here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grpc
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import inference_pb2, model_pb2

from serving.signatures import DEFAULT_SIGNATURE
from serving.status import StatusError, invalid_argument

Signatures = Mapping[str, meta_graph_pb2.SignatureDef]
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def refuse(method: str, signatures: Signatures, spec: model_pb2.ModelSpec) -> StatusError:
    """Why a Classify or Regress request of a loaded model fails: INVALID_ARGUMENT, or UNIMPLEMENTED here."""
    name = spec.signature_name or DEFAULT_SIGNATURE
    if name not in signatures:
        return invalid_argument(f"No signature was found with the name: {name}")
    return _CHECKS[method](signatures[name]) or _not_run(method)


def refuse_tasks(signatures: Signatures, request: inference_pb2.MultiInferenceRequest) -> StatusError:
    """Why a MultiInference request of a loaded model, that of its first task, fails."""
    seen: set[str] = set()
    for task in request.tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if error := _check_task(task, request.tasks[0].model_spec.name, seen, signatures):
            return error
        seen.add(name)
    return _not_run("MultiInference")


def _check_task(
    task: inference_pb2.InferenceTask, model: str, seen: set[str], signatures: Signatures
) -> StatusError | None:
    name = task.model_spec.signature_name or DEFAULT_SIGNATURE
    if not task.model_spec.name:
        return invalid_argument("Found ModelSpec with an empty model name.")
    if task.model_spec.name != model:
        return invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
    if name in seen:
        return invalid_argument(f"Duplicate evaluation of signature: {name}")
    if name not in signatures:
        return invalid_argument(f"Requested signature not found in model graph: {name}")
    if task.method_name not in _CHECKS:
        message = f"Unsupported signature method_name: {task.method_name}"
        return StatusError(grpc.StatusCode.UNIMPLEMENTED, message)
    return _CHECKS[task.method_name](signatures[name])


def _check_classification(signature: meta_graph_pb2.SignatureDef) -> StatusError | None:
    if len(signature.inputs) != 1:
        return invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        return invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        return invalid_argument(f"No classification inputs found in SignatureDef: {signature}")
    if not {"classes", "scores"} & set(signature.outputs):
        return invalid_argument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature'
            f" was: {signature}"
        )
    return None


def _check_regression(signature: meta_graph_pb2.SignatureDef) -> StatusError | None:
    if len(signature.inputs) != 1:
        return invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        return invalid_argument("Expected one output Tensor.")
    for kind, named in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        if kind not in named:
            return invalid_argument(f"No regression {kind} found in SignatureDef: {signature}")
    return None


def _not_run(method: str) -> StatusError:
    message = f"{method} is not run by this server, which answers Predict; the stock tensorflow/serving runs it"
    return StatusError(grpc.StatusCode.UNIMPLEMENTED, message)


_CHECKS: Mapping[str, Callable[[meta_graph_pb2.SignatureDef], StatusError | None]] = {
    CLASSIFY: _check_classification,
    REGRESS: _check_regression,
}
