"""The embedded server as TensorFlow Serving's own client sees it."""

import os

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.inference import CLASSIFY, REGRESS, refuse, refuse_tasks
from serving.model_config import single_model
from serving.models import Models
from serving.server import EmbeddedServer
from serving.status import StatusError
from tests.support.served_models import FAILURE, write_toy_model

MODEL = "toy"


@pytest.fixture(scope="module")
def base_path(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    write_toy_model(base / "7")
    return base


@pytest.fixture(scope="module")
def channel(base_path):
    with EmbeddedServer(base_path, MODEL, port=0) as server, grpc.insecure_channel(server.address) as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def model_service(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def predict_request(inputs, signature="", output_filter=(), model=MODEL, version=None):
    request = predict_pb2.PredictRequest(output_filter=output_filter)
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(values if isinstance(values, Message) else tf.make_tensor_proto(values))
    return request


def failure(call, request, timeout=20.0):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=timeout)
    return caught.value.code().name, caught.value.details()


X = np.ones([2, 3], np.float32)
HISTORY = [["a", "b", ""], ["", "", ""]]


def test_predict_answers_and_names_what_answered(prediction):
    response = prediction.Predict(predict_request({"history": HISTORY}), timeout=20)
    assert response.model_spec.name == MODEL
    assert response.model_spec.version.value == 7
    assert response.model_spec.signature_name == "serving_default"
    outputs = {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}
    assert set(outputs) == {"item_ids", "scores", "valid", "codes", "keys", "fallback"}
    assert outputs["item_ids"].tolist() == [["é-0".encode(), "é-1".encode(), b""], [b"", b"", b""]]
    np.testing.assert_allclose(outputs["scores"], [[1, 0.5, 0], [0, 0, 0]])
    assert outputs["codes"].dtype == np.int32


def test_outputs_are_in_the_lists_of_their_types(prediction):
    """As TensorFlow Serving answers by default; clients read `float_val` without another thought."""
    response = prediction.Predict(predict_request({"history": HISTORY}, output_filter=["scores"]), timeout=20)
    assert list(response.outputs) == ["scores"]
    assert response.outputs["scores"].float_val == [1, 0.5, 0, 0, 0, 0]


def test_every_type_goes_in_and_comes_out(prediction):
    values = {
        "string": np.array([b"\xff\0", b""], object),
        "float32": np.array([[1.5, np.inf]], np.float32),
        "float64": np.array([1e300]),
        "int32": np.array([-(2**31)], np.int32),
        "int64": np.array([2**62]),
        "uint8": np.zeros([0, 3], np.uint8),
        "bool": np.array([True, False]),
        "float16": np.array(0.1, np.float16),
    }
    response = prediction.Predict(predict_request(values, "echo"), timeout=20)
    for name, value in values.items():
        read = tf.make_ndarray(response.outputs[name])
        np.testing.assert_array_equal(read, value)
        assert read.dtype == value.dtype


def test_an_optional_input_may_be_left_out(prediction):
    default = prediction.Predict(predict_request({"x": X}, "scale"), timeout=20)
    given = prediction.Predict(predict_request({"x": X, "times": np.array([5], np.int32)}, "scale"), timeout=20)
    assert set(default.outputs["y"].float_val) == {2.0}
    assert set(given.outputs["y"].float_val) == {5.0}


def test_a_version_may_be_named(prediction):
    response = prediction.Predict(predict_request({"history": HISTORY}, version=7), timeout=20)
    assert response.model_spec.version.value == 7


def labelled():
    request = predict_request({"history": HISTORY})
    request.model_spec.version_label = "canary"
    return request


def badly_shaped_proto():
    proto = tf.make_tensor_proto(X)
    proto.tensor_shape.dim[0].size = 9
    return proto


OUTPUTS = "codes,fallback,item_ids,keys,scores,valid"
FAILURES = {
    "no model spec": (
        predict_pb2.PredictRequest(),
        ("INVALID_ARGUMENT", "Missing ModelSpec"),
    ),
    "no model name": (
        predict_request({"history": HISTORY}, "serving_default", model=""),
        ("INVALID_ARGUMENT", "ModelSpec has no name specified."),
    ),
    "unknown model": (
        predict_request({"history": HISTORY}, model="nobody"),
        ("NOT_FOUND", "Servable not found for request: Latest(nobody)"),
    ),
    "unknown version": (
        predict_request({"history": HISTORY}, version=8),
        ("NOT_FOUND", "Servable not found for request: Specific(toy, 8)"),
    ),
    "unknown version of an unknown model": (
        predict_request({"history": HISTORY}, model="nobody", version=8),
        ("NOT_FOUND", "Servable not found for request: Specific(nobody, 8)"),
    ),
    "unknown label": (
        labelled(),
        ("INVALID_ARGUMENT", "Unrecognized servable version label: canary"),
    ),
    "unknown signature": (
        predict_request({"history": HISTORY}, "nothing"),
        ("FAILED_PRECONDITION", 'Serving signature key "nothing" not found.'),
    ),
    "the initialiser is no signature to predict with": (
        predict_request({}, "__saved_model_init_op"),
        (
            "INTERNAL",
            "Expected prediction signature method_name to be one of {tensorflow/serving/predict,"
            " tensorflow/serving/classify, tensorflow/serving/regress}. Was: ",
        ),
    ),
    "missing input": (
        predict_request({}),
        (
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({history}). Sent extra: {}. Missing but"
            " required: {history}.",
        ),
    ),
    "extra input": (
        predict_request({"history": HISTORY, "user": ["u"]}),
        (
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({history,user}) != len({history}). Sent extra: {user}."
            " Missing but required: {}.",
        ),
    ),
    "misspelt input": (
        predict_request({"histories": HISTORY}),
        (
            "INVALID_ARGUMENT",
            "Signature input alias: history(feed name: serving_default_history:0) not found in request and no default"
            " value provided. Inputs expected to be in the request {histories}, or default input alias set: ",
        ),
    ),
    "missing input beside an optional one": (
        predict_request({"times": np.array([1], np.int32)}, "scale"),
        (
            "INVALID_ARGUMENT",
            "Signature input alias: x(feed name: scale_x:0) not found in request and no default value provided. Inputs"
            " expected to be in the request {times}, or default input alias set: times",
        ),
    ),
    "misspelt optional input": (
        predict_request({"x": X, "time": np.array([1], np.int32)}, "scale"),
        (
            "INVALID_ARGUMENT",
            "Inputs contains invalid name. Used request inputs: x, request input: time,x",
        ),
    ),
    "wrong type": (
        predict_request({"history": np.array([[1, 2]])}),
        ("INVALID_ARGUMENT", 'Expects arg[0] to be string but int64 is provided (input "history")'),
    ),
    "wrong type of the second tensor by name": (
        predict_request({"x": X.astype(np.float64)}, "scale"),
        ("INVALID_ARGUMENT", 'Expects arg[1] to be float but double is provided (input "x")'),
    ),
    "wrong rank": (
        predict_request({"history": ["a", "b"]}),
        ("INVALID_ARGUMENT", 'input "history" has shape [2], the signature takes [?,?]'),
    ),
    "too many rows": (
        predict_request({"x": np.ones([1025, 3], np.float32)}, "scale"),
        ("INVALID_ARGUMENT", "Task size 1025 is larger than maximum input batch size 1024"),
    ),
    "wrong width": (
        predict_request({"x": np.ones([1, 4], np.float32)}, "scale"),
        ("INVALID_ARGUMENT", 'input "x" has shape [1,4], the signature takes [?,3]'),
    ),
    "content that does not fill the shape": (
        predict_request({"x": badly_shaped_proto()}, "scale"),
        ("INVALID_ARGUMENT", "tensor parsing error: x (tensor_content has 24 bytes; 27 x float32 need others)"),
    ),
    "unknown output": (
        predict_request({"history": HISTORY}, output_filter=["titles"]),
        (
            "INVALID_ARGUMENT",
            f"output tensor alias not found in signature: titles Outputs expected to be in the set {{{OUTPUTS}}}.",
        ),
    ),
    "output asked for twice": (
        predict_request({"history": HISTORY}, output_filter=["keys", "keys"]),
        ("INVALID_ARGUMENT", "duplicate output tensor alias: keys"),
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_predict_fails_with_tensorflow_servings_code_and_words(prediction, name):
    request, expected = FAILURES[name]
    assert failure(prediction.Predict, request) == expected


def test_an_operation_that_fails_gives_its_own_code_and_long_messages_are_cut(prediction):
    code, message = failure(prediction.Predict, predict_request({"x": X[0]}, "fail"))
    assert code == "INVALID_ARGUMENT"
    assert FAILURE[:100] in message
    assert message.endswith("...TRUNCATED")
    assert len(message.removesuffix("...TRUNCATED")) == 1024


def test_inputs_of_different_batch_sizes_fail_in_the_graph(prediction):
    request = predict_request({"x": X, "times": np.array([1, 2, 3], np.int32)}, "scale")
    code, message = failure(prediction.Predict, request)
    assert code == "INVALID_ARGUMENT"
    assert "Incompatible shapes" in message


def test_bytes_that_are_no_message_are_refused(channel, prediction):
    call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    code, message = failure(call, b"\xff\xff\xff")
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("the request is no message that /tensorflow.serving.PredictionService/Predict takes: ")
    assert prediction.Predict(predict_request({"history": HISTORY}), timeout=20)


def count(steps):
    return predict_request({"steps": np.array([steps])}, "count")


def test_more_requests_past_their_deadline_than_workers_leave_one_free(prediction):
    for _ in range(4 * (os.cpu_count() or 1) + 1):
        code, _ = failure(prediction.Predict, count(10**12), timeout=0.05)
        assert code == "DEADLINE_EXCEEDED"
    assert prediction.Predict(count(5), timeout=20).outputs["total"].int64_val == [5]


def test_the_server_itself_gives_a_run_up_at_the_deadline(base_path):
    """Seen without a client, whose own clock would end the call whatever the server does."""
    models = Models()
    models.start(single_model(MODEL, base_path))
    servable = models.find(count(1).model_spec)
    for timeout in (0.2, 0.0):
        with pytest.raises(StatusError, match="DEADLINE_EXCEEDED"):
            servable.predict(count(10**12), timeout=timeout)


def metadata_request(fields=("signature_def",), model=MODEL):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=fields)
    request.model_spec.name = model
    return request


def test_metadata_is_the_models_signatures(base_path, prediction):
    response = prediction.GetModelMetadata(metadata_request(), timeout=20)
    assert (response.model_spec.name, response.model_spec.version.value) == (MODEL, 7)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    saved = saved_model_pb2.SavedModel.FromString((base_path / "7" / "saved_model.pb").read_bytes())
    assert signatures.signature_def == saved.meta_graphs[0].signature_def
    assert signatures.signature_def["scale"].defaults["times"].int_val == [2]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (
            metadata_request(fields=[]),
            ("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field"),
        ),
        (metadata_request(fields=["graph"]), ("INVALID_ARGUMENT", "Metadata field graph is not supported")),
        (metadata_request(model="nobody"), ("NOT_FOUND", "Servable not found for request: Latest(nobody)")),
        (get_model_metadata_pb2.GetModelMetadataRequest(), ("INVALID_ARGUMENT", "Missing ModelSpec")),
    ],
    ids=["no field", "unknown field", "unknown model", "no model spec"],
)
def test_metadata_failures(prediction, request_, expected):
    assert failure(prediction.GetModelMetadata, request_) == expected


def status_request(model=MODEL, version=None):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    if version is not None:
        request.model_spec.version.value = version
    return request


@pytest.mark.parametrize("version", [None, 7])
def test_status_of_a_loaded_version(model_service, version):
    [status] = model_service.GetModelStatus(status_request(version=version), timeout=20).model_version_status
    assert (status.version, status.state) == (7, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    assert (status.status.error_code, status.status.error_message) == (0, "")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (status_request(model="nobody"), ("NOT_FOUND", "Could not find any versions of model nobody")),
        (status_request(version=8), ("NOT_FOUND", "Could not find version 8 of model toy")),
        (get_model_status_pb2.GetModelStatusRequest(), ("INVALID_ARGUMENT", "Missing ModelSpec")),
    ],
    ids=["unknown model", "unknown version", "no model spec"],
)
def test_status_failures(model_service, request_, expected):
    assert failure(model_service.GetModelStatus, request_) == expected


def model_spec(name=MODEL, signature=""):
    return predict_request({}, signature, model=name).model_spec


NO_SUCH_MODEL = ("NOT_FOUND", "Servable not found for request: Latest(nobody)")


def invalid(message):
    return ("INVALID_ARGUMENT", message)


@pytest.mark.parametrize(
    ("spec", "classify", "regress"),
    [
        (None, invalid("Missing ModelSpec"), invalid("Missing ModelSpec")),
        (model_spec("nobody"), NO_SUCH_MODEL, NO_SUCH_MODEL),
        (
            model_spec(signature="gone"),
            invalid("No signature was found with the name: gone"),
            invalid("No signature was found with the name: gone"),
        ),
        (
            model_spec(),
            invalid("Expected one or two output Tensors, found 6"),
            invalid("Expected one output Tensor."),
        ),
        (model_spec(signature="scale"), invalid("Expected one input Tensor."), invalid("Expected one input Tensor.")),
        (
            model_spec(signature="count"),
            invalid("No classification inputs found in SignatureDef: "),
            invalid("No regression inputs found in SignatureDef: "),
        ),
    ],
    ids=["no model spec", "unknown model", "unknown signature", "the default", "two inputs", "other names"],
)
def test_classify_and_regress_refuse_models_made_for_predict_in_tensorflow_servings_words(
    prediction, spec, classify, regress
):
    code, message = failure(prediction.Classify, classification_pb2.ClassificationRequest(model_spec=spec))
    assert (code, message[: len(classify[1])]) == classify
    code, message = failure(prediction.Regress, regression_pb2.RegressionRequest(model_spec=spec))
    assert (code, message[: len(regress[1])]) == regress


def task(method=CLASSIFY, **spec):
    return inference_pb2.InferenceTask(model_spec=model_spec(**spec), method_name=method)


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [
        ([], invalid("ModelSpec has no name specified.")),
        ([task(name="nobody")], NO_SUCH_MODEL),
        ([task()], invalid("Expected one or two output Tensors, found 6")),
        ([task(signature="gone")], invalid("Requested signature not found in model graph: gone")),
        (
            [task("tensorflow/serving/predict")],
            ("UNIMPLEMENTED", "Unsupported signature method_name: tensorflow/serving/predict"),
        ),
    ],
    ids=["no task", "unknown model", "the default", "unknown signature", "predict"],
)
def test_multi_inference_refuses_as_tensorflow_serving_does(prediction, tasks, expected):
    assert failure(prediction.MultiInference, inference_pb2.MultiInferenceRequest(tasks=tasks)) == expected


def signature(*outputs):
    made = meta_graph_pb2.SignatureDef()
    made.inputs["inputs"].SetInParent()
    for output in outputs:
        made.outputs[output].SetInParent()
    return made


# Signatures of models that are made to classify and to regress.
OTHERS = {"classes": signature("classes", "scores"), "outputs": signature("outputs"), "x": signature("x")}


@pytest.mark.parametrize(
    ("method", "name", "message"),
    [
        (CLASSIFY, "classes", "tensorflow/serving/classify is not run by this server"),
        (CLASSIFY, "x", "Expected classification signature outputs to contain at least one of"),
        (REGRESS, "outputs", "tensorflow/serving/regress is not run by this server"),
        (REGRESS, "x", "No regression outputs found in SignatureDef"),
    ],
)
def test_what_could_be_classified_or_regressed_is_for_the_stock_server(method, name, message):
    error = refuse(method, OTHERS, model_spec(signature=name))
    assert error.message.startswith(message)
    assert error.code.name == ("UNIMPLEMENTED" if "not run" in message else "INVALID_ARGUMENT")


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([task(signature="x"), task(name="")], "Expected classification signature outputs to contain"),
        ([task(signature="classes"), task(name="", signature="x")], "ModelSpec with an empty model name."),
        ([task(signature="classes"), task(name="other")], "must access the same model name."),
        ([task(signature="classes")] * 2, "Duplicate evaluation of signature: classes"),
        ([task(signature="classes"), task(REGRESS, signature="outputs")], "MultiInference is not run by this server"),
    ],
    ids=["the first is wrong", "no name", "two models", "one signature twice", "right"],
)
def test_all_tasks_are_checked_in_their_order(tasks, message):
    request = inference_pb2.MultiInferenceRequest(tasks=tasks)
    assert message in refuse_tasks(OTHERS, request).message


def test_health_is_serving_while_the_model_is_and_not_after(base_path, channel):
    request = health_pb2.HealthCheckRequest()
    assert (
        health_pb2_grpc.HealthStub(channel).Check(request, timeout=20).status == health_pb2.HealthCheckResponse.SERVING
    )
    with EmbeddedServer(base_path, MODEL, port=0) as server, grpc.insecure_channel(server.address) as own_channel:
        watch = health_pb2_grpc.HealthStub(own_channel).Watch(request, timeout=20)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        server.stop(grace=0.5)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
