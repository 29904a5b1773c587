"""Several models: configured by a file, reconfigured by a stock client, labelled, and retried."""

import shutil
import time

import grpc
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from protos.errors import UserError
from serving.model_config import ModelServerConfig, VersionPolicy, wanted_versions
from serving.models import Models
from serving.options import ServerOptions, models_of, parser
from serving.server import ModelServer
from serving.versions import LoadRetries
from tests.support.served_models import write_toy_model

State = get_model_status_pb2.ModelVersionStatus.State
TOY = "name: 'toy' base_path: '{root}/toy' model_platform: 'tensorflow'"
OTHER = "name: 'other' base_path: '{root}/other' model_platform: 'tensorflow'"
ALL = " model_version_policy { all {} }"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return write_toy_model(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def root(saved, tmp_path):
    """Versions 1, 2 and 3 of the model toy, and version 5 of another."""
    for name in ("toy/1", "toy/2", "toy/3", "other/5"):
        shutil.copytree(saved, tmp_path / name)
    return tmp_path


def config(root, *models):
    text = " ".join(f"config {{ {model} }}" for model in models).replace("{root}", str(root))
    return text_format.Parse(f"model_config_list {{ {text} }}", ModelServerConfig())


class StockClient:
    """What the stubs of tensorflow-serving-api ask, unchanged."""

    def __init__(self, channel):
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)

    def version(self, model="toy", number=None, label=None):
        """Which version answers."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        if number is not None:
            request.model_spec.version.value = number
        if label is not None:
            request.model_spec.version_label = label
        request.inputs["history"].CopyFrom(tf.make_tensor_proto([["a"]]))
        return self._prediction.Predict(request, timeout=20).model_spec.version.value

    def reload(self, wanted):
        request = model_management_pb2.ReloadConfigRequest(config=wanted)
        return self._models.HandleReloadConfigRequest(request, timeout=60)

    def states(self, model="toy"):
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        answer = self._models.GetModelStatus(request, timeout=20)
        return {status.version: State.Name(status.state) for status in answer.model_version_status}


@pytest.fixture
def serve():
    """Starts a server of a configuration and returns a client of it."""
    running = []

    def start(wanted, options=None):
        server = ModelServer(wanted, 0, options or ServerOptions()).start()
        channel = grpc.insecure_channel(server.address)
        running.append((server, channel))
        return StockClient(channel)

    yield start
    for server, channel in running:
        channel.close()
        server.stop(grace=0)


def failure(call, *args, **kwargs):
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **kwargs)
    return caught.value.code().name, caught.value.details()


def test_models_of_a_file_are_served_side_by_side(root, serve):
    path = root / "models.config"
    path.write_text(text_format.MessageToString(config(root, TOY, OTHER)))
    client = serve(models_of(parser().parse_args(["--model_config_file", str(path), "--model_base_path", "ignored"])))
    assert client.version("toy") == 3
    assert client.version("other") == 5
    assert failure(client.version, "sparcode") == (
        "NOT_FOUND",
        "Servable not found for request: Latest(sparcode)",
    )


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", {10}),
        ("latest {}", {10}),
        ("latest { num_versions: 2 }", {10, 9}),
        ("latest { num_versions: 20 }", {1, 9, 10}),
        ("all {}", {1, 9, 10}),
        ("specific { versions: 9 versions: 4 }", {9}),
    ],
)
def test_version_policies(policy, expected):
    assert wanted_versions(text_format.Parse(policy, VersionPolicy()), {1, 9, 10}) == expected
    assert wanted_versions(text_format.Parse(policy, VersionPolicy()), {}) == set()


def test_a_reload_changes_policies_and_takes_and_drops_models(root, serve):
    client = serve(config(root, TOY))
    assert client.reload(config(root, TOY + ALL, OTHER)).status.error_code == 0
    assert client.states() == {3: "AVAILABLE", 2: "AVAILABLE", 1: "AVAILABLE"}
    assert [client.version(number=number) for number in (1, 2, 3)] == [1, 2, 3]
    assert client.version("other") == 5

    client.reload(config(root, OTHER))
    assert client.states() == {3: "END", 2: "END", 1: "END"}
    assert failure(client.version)[0] == "NOT_FOUND"
    assert client.version("other") == 5

    client.reload(config(root, OTHER, TOY))
    assert client.version() == 3


def test_labels_name_available_versions_only(root, serve):
    """The rollout that labels are made for: load both, label, move the label, drop the old version."""
    client = serve(config(root, TOY + ALL))
    unavailable = (
        "FAILED_PRECONDITION",
        "Request to assign label to version 7 of model toy, which is not currently available for inference",
    )
    assert failure(client.version, label="stable") == (
        "INVALID_ARGUMENT",
        "Unrecognized servable version label: stable",
    )
    client.reload(config(root, TOY + ALL + " version_labels { key: 'stable' value: 1 }"))
    assert client.version(label="stable") == 1
    assert failure(client.reload, config(root, TOY + " version_labels { key: 'stable' value: 7 }")) == unavailable
    assert client.version(label="stable") == 1
    client.reload(config(root, TOY + " version_labels { key: 'stable' value: 3 }"))
    assert client.version(label="stable") == 3
    assert client.states() == {3: "AVAILABLE", 2: "END", 1: "END"}


LABELLED = TOY + " version_labels { key: 'stable' value: 3 }"


def test_labels_at_the_start_need_to_be_allowed(root, serve):
    """As under TensorFlow Serving, which checks them before anything is loaded."""
    with pytest.raises(UserError, match="FAILED_PRECONDITION: Request to assign label to version 3 of model toy"):
        Models().start(config(root, LABELLED))
    client = serve(config(root, LABELLED), ServerOptions(labels_for_unavailable=True))
    assert client.version(label="stable") == 3


def test_a_label_in_use_does_not_move_to_an_unavailable_version_even_where_allowed(root, serve):
    client = serve(config(root, LABELLED), ServerOptions(labels_for_unavailable=True))
    moved = TOY + " version_labels { key: 'stable' value: 1 }"
    assert failure(client.reload, config(root, moved))[0] == "FAILED_PRECONDITION"
    client.reload(config(root, TOY + " version_labels { key: 'canary' value: 1 }"))
    assert failure(client.version, label="canary") == (
        "NOT_FOUND",
        "Servable not found for request: Specific(toy, 1)",
    )


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ((TOY, TOY), "Illegal to list model toy multiple times in config list"),
        (
            ("name: 'toy' base_path: 'toy' model_platform: 'tensorflow'",),
            "Expected model toy to have an absolute path or URI; got base_path()=toy",
        ),
        (
            ("name: 'toy' base_path: '/toy'",),
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform.",
        ),
        (
            ("name: 'toy' base_path: '/toy' model_platform: 'caffe'",),
            "Model toy requests unsupported platform caffe",
        ),
        (
            (TOY + " model_type: TENSORFLOW",),
            "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform.",
        ),
        (
            ("name: 'toy' base_path: '/toy' model_type: OTHER",),
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
    ],
    ids=["twice", "relative", "no platform", "other platform", "type and platform", "other type"],
)
def test_a_configuration_that_breaks_a_rule_changes_nothing(root, serve, models, message):
    client = serve(config(root, OTHER))
    assert failure(client.reload, config(root, *models)) == ("INVALID_ARGUMENT", message)
    assert client.version("other") == 5
    with pytest.raises(UserError, match="the models cannot be served as configured: INVALID_ARGUMENT: "):
        Models().start(config(root, *models))


def test_only_a_list_of_models_can_be_reloaded(root, serve):
    client = serve(config(root, OTHER))
    code, message = failure(client.reload, ModelServerConfig())
    assert code == "INVALID_ARGUMENT"
    assert message.endswith("Only ModelConfigList is currently supported")


def break_model(directory):
    (directory / "saved_model.pb").write_bytes(b"no graph")


def test_a_new_model_that_cannot_be_loaded_is_named_and_the_others_answer(root, serve):
    break_model(root / "other" / "5")
    client = serve(config(root, TOY))
    code, message = failure(client.reload, config(root, TOY, OTHER))
    assert code == "UNKNOWN"
    assert message.startswith(
        "1 model(s) did not become available: {{{name: other version: 5} due to error: FAILED_PRECONDITION: cannot load"
    )
    assert client.version() == 3
    shutil.rmtree(root / "other")
    gone = "1 model(s) did not become available: {{{name: other}: no version found under its base path}, }"
    client.reload(config(root, TOY))
    assert failure(client.reload, config(root, TOY, OTHER)) == ("UNKNOWN", gone)


def test_a_model_whose_directory_is_gone_goes_on_answering_and_so_do_the_others(root, serve):
    client = serve(config(root, TOY, OTHER), ServerOptions(poll_seconds=0.05))
    shutil.rmtree(root / "toy")
    shutil.move(root / "other" / "5", root / "other" / "6")
    wait_for(lambda: client.states("other").get(6) == "AVAILABLE")
    assert client.version() == 3


def test_loads_are_retried_and_the_old_version_answers_meanwhile(root, saved):
    models = Models(LoadRetries(most=2, seconds=0))
    models.start(config(root, TOY))
    model = models.find(spec()).version
    shutil.copytree(saved, root / "toy" / "4")
    break_model(root / "toy" / "4")
    seen = []
    for _ in range(4):
        models.refresh()
        assert models.find(spec()).version == model
        status = models.statuses(spec())[4]
        seen.append((State.Name(status.state), status.error is not None))
    assert seen == [("LOADING", False), ("LOADING", False), ("END", True), ("END", True)]


def test_a_version_that_is_mended_between_retries_is_served(root, saved):
    models = Models(LoadRetries(most=1, seconds=0))
    models.start(config(root, TOY))
    shutil.copytree(saved, root / "toy" / "4")
    break_model(root / "toy" / "4")
    models.refresh()
    shutil.copy(saved / "saved_model.pb", root / "toy" / "4")
    models.refresh()
    assert models.find(spec()).version == 4


def test_a_retry_waits_for_its_interval(root, saved):
    models = Models(LoadRetries(most=5, seconds=3600))
    models.start(config(root, TOY))
    shutil.copytree(saved, root / "toy" / "4")
    break_model(root / "toy" / "4")
    models.refresh()
    shutil.copy(saved / "saved_model.pb", root / "toy" / "4")
    models.refresh()
    assert models.find(spec()).version == 3
    assert State.Name(models.statuses(spec())[4].state) == "LOADING"


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def spec(name="toy"):
    return predict_pb2.PredictRequest(model_spec={"name": name}).model_spec


def test_messages_may_be_limited(root, serve):
    client = serve(config(root, TOY), ServerOptions(channel_arguments={"grpc.max_receive_message_length": 1000}))
    assert client.version() == 3
    code, message = failure(client.version, "x" * 2000)
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in message
