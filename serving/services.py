"""PredictionService and ModelService of TensorFlow Serving, over the models of this process."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.inference import CLASSIFY, REGRESS, refuse, refuse_tasks
from serving.models import Models
from serving.status import StatusError, invalid_argument, truncated

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
            return method(self, request, context)
        except StatusError as error:
            context.abort(error.code, truncated(error.message))
        except Exception as error:
            _log.exception("%s failed", method.__name__)
            context.abort(grpc.StatusCode.INTERNAL, truncated(f"{type(error).__name__}: {error}"))

    return call


def _spec(request: Any) -> model_pb2.ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return request.model_spec


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; Classify, Regress and MultiInference refuse models that are made for Predict."""

    def __init__(self, models: Models) -> None:
        self._models = models

    @_with_status
    def Predict(  # noqa: N802  # the name of the method on the wire
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> predict_pb2.PredictResponse:
        """Runs a signature of the version that the request names; the call's deadline bounds the run."""
        name, start, status = request.model_spec.name, time.perf_counter(), grpc.StatusCode.INTERNAL
        try:
            observe = functools.partial(self._models.metrics.run, name)
            servable = self._models.find(_spec(request))
            response = servable.predict(request, context.time_remaining(), observe)
            status = grpc.StatusCode.OK
        except StatusError as error:
            status = error.code
            raise
        finally:
            # Not by any name that a stranger sends: what is counted would grow without end.
            counted = name if self._models.has(name) else ""
            self._models.metrics.request(counted, status.name, time.perf_counter() - start)
        return response

    @_with_status
    def GetModelMetadata(  # noqa: N802
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of the version that the request names."""
        spec = _spec(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {field} is not supported")
        servable = self._models.find(spec)
        signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = servable.version
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    @_with_status
    def Classify(  # noqa: N802
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> classification_pb2.ClassificationResponse:
        """Refuses, see `serving.inference`."""
        raise refuse(CLASSIFY, self._models.find(_spec(request)).signatures, request.model_spec)

    @_with_status
    def Regress(  # noqa: N802
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> regression_pb2.RegressionResponse:
        """Refuses, see `serving.inference`."""
        raise refuse(REGRESS, self._models.find(_spec(request)).signatures, request.model_spec)

    @_with_status
    def MultiInference(  # noqa: N802
        self, request: inference_pb2.MultiInferenceRequest, context: grpc.ServicerContext
    ) -> inference_pb2.MultiInferenceResponse:
        """Refuses, see `serving.inference`."""
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        raise refuse_tasks(self._models.find(spec).signatures, request)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, models: Models) -> None:
        self._models = models

    @_with_status
    def GetModelStatus(  # noqa: N802
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The state of the version that the request names, or of all versions seen, newest first."""
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, status in self._models.statuses(_spec(request)).items():
            code, message = (0, "") if status.error is None else (status.error.code.value[0], status.error.message)
            answer = response.model_version_status.add(version=version, state=status.state)
            answer.status.error_code = code
            answer.status.error_message = message
        return response

    @_with_status
    def HandleReloadConfigRequest(  # noqa: N802
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Serves the models of the request; answers when the new ones are available."""
        self._models.reload(request.config)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()  # as TensorFlow Serving, which fills it in
        return response
