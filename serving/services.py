"""PredictionService and ModelService of TensorFlow Serving, over the models of this process."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.status import StatusError, invalid_argument, not_found, truncated
from serving.versions import ModelVersions, VersionStatus, find_servable

_SIGNATURE_DEF = "signature_def"
_Response = TypeVar("_Response", bound=Message)
_log = logging.getLogger(__name__)


def _with_status(
    method: Callable[[Any, Any, grpc.ServicerContext], _Response],
) -> Callable[[Any, Any, grpc.ServicerContext], _Response]:
    """Ends a call that raises with the status it stands for."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> _Response:
        try:
            if not request.HasField("model_spec"):
                raise invalid_argument("Missing ModelSpec")
            return method(self, request, context)
        except StatusError as error:
            context.abort(error.code, truncated(error.message))
        except Exception as error:
            _log.exception("%s failed", method.__name__)
            context.abort(grpc.StatusCode.INTERNAL, truncated(f"{type(error).__name__}: {error}"))

    return call


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; Classify, Regress and MultiInference are UNIMPLEMENTED."""

    def __init__(self, models: Mapping[str, ModelVersions]) -> None:
        self._models = models

    @_with_status
    def Predict(  # noqa: N802  # the name of the method on the wire
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature of the version that the request names; the call's deadline bounds the run."""
        return find_servable(self._models, request.model_spec).predict(request, timeout=context.time_remaining())

    @_with_status
    def GetModelMetadata(  # noqa: N802
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of the version that the request names."""
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {field} is not supported")
        servable = find_servable(self._models, request.model_spec)
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = servable.version
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; HandleReloadConfigRequest is UNIMPLEMENTED."""

    def __init__(self, models: Mapping[str, ModelVersions]) -> None:
        self._models = models

    @_with_status
    def GetModelStatus(  # noqa: N802
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The state of the version that the request names, or of all versions seen, newest first."""
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, status in self._find_statuses(request.model_spec).items():
            code, message = (0, "") if status.error is None else (status.error.code.value[0], status.error.message)
            answer = response.model_version_status.add(version=version, state=status.state)
            answer.status.error_code = code
            answer.status.error_message = message
        return response

    def _find_statuses(self, spec: model_pb2.ModelSpec) -> dict[int, VersionStatus]:
        statuses = self._models[spec.name].statuses() if spec.name in self._models else {}
        if not spec.HasField("version"):
            if not statuses:
                raise not_found(f"Could not find any versions of model {spec.name}")
            return statuses
        version = spec.version.value
        if version not in statuses:
            raise not_found(f"Could not find version {version} of model {spec.name}")
        return {version: statuses[version]}
