"""The server's configuration files, parsed as the messages that they are."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
import types

import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.batching import Batching
from tests.k8s.rendered import SERVING, flags, of_kind, servers
from tests.k8s.tools import K8S, run

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> types.ModuleType:
    """The messages of server_config.proto."""
    directory = tmp_path_factory.mktemp("messages")
    # In a process of its own: the compiler and TensorFlow cannot be loaded into one.
    run(sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", f"--python_out={directory}", "server_config.proto")
    spec = importlib.util.spec_from_file_location("server_config_pb2", directory / "server_config_pb2.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=SERVING)
def overlay(request: pytest.FixtureRequest) -> str:
    """The name of an overlay that serves."""
    return request.param


def configs(overlay: str) -> list[dict[str, str]]:
    """The files of each track or shard."""
    return [resource["data"] for resource in of_kind(overlay, "ConfigMap") if "models.config" in resource["data"]]


def test_a_file_changes_only_with_its_name(overlay: str) -> None:
    for resource in of_kind(overlay, "ConfigMap"):
        assert resource["immutable"] is True
        assert resource["metadata"]["name"].rpartition("-")[0].startswith("sparcode-server")


def test_one_version_of_one_model_is_served_from_where_it_is_mounted(overlay: str) -> None:
    for files, server in zip(configs(overlay), servers(overlay), strict=True):
        parsed = text_format.Parse(files["models.config"], model_server_config_pb2.ModelServerConfig())
        (model,) = parsed.model_config_list.config
        assert (model.name, model.model_platform) == ("sparcode", "tensorflow")
        assert [str(version) for version in model.model_version_policy.specific.versions] == [
            server.labels["sparcode.dev/version"]
        ]
        assert model.base_path == "/models/sparcode"
        pulls = [container for container in server.containers if container["name"] == "pull-model"]
        assert [flags(container)["output"] for container in pulls] == [model.base_path] * len(pulls)


def test_batches_suit_the_server(overlay: str, messages: types.ModuleType) -> None:
    for files, server in zip(configs(overlay), servers(overlay), strict=True):
        batching = text_format.Parse(files["batching.config"], messages.BatchingParameters())
        sizes = list(batching.allowed_batch_sizes)
        assert sizes == sorted(set(sizes))
        assert sizes[-1] == batching.max_batch_size.value
        assert not batching.pad_variable_length_inputs, "it pads with an item that nobody has seen"
        container = server.container("server")
        assert batching.num_batch_threads.value == int(container["resources"]["limits"]["cpu"])
        # A request holds a thread while it waits for its batch. Where threads run out, gRPC says RESOURCE_EXHAUSTED,
        # which clients do not retry; a full queue says UNAVAILABLE.
        rows = (batching.num_batch_threads.value + batching.max_enqueued_batches.value) * batching.max_batch_size.value
        assert int(flags(container)["grpc_max_threads"]) > rows


def test_batches_are_those_that_conformance_is_tested_with(overlay: str, messages: types.ModuleType) -> None:
    for files in configs(overlay):
        batching = text_format.Parse(files["batching.config"], messages.BatchingParameters())
        ours = Batching(num_batch_threads=batching.num_batch_threads.value)
        assert batching == text_format.Parse(ours.text(), messages.BatchingParameters())


def test_metrics_are_where_prometheus_looks(overlay: str, messages: types.ModuleType) -> None:
    scrape = yaml.safe_load((K8S / "monitoring" / "scrape.yaml").read_text())["scrape_configs"]
    (job,) = (job for job in scrape if job["job_name"] == "sparcode-server")
    for files in configs(overlay):
        monitoring = text_format.Parse(files["monitoring.config"], messages.MonitoringConfig())
        assert monitoring.prometheus_config.enable
        assert monitoring.prometheus_config.path == job["metrics_path"]


def test_a_misspelt_field_is_refused(messages: types.ModuleType) -> None:
    with pytest.raises(text_format.ParseError, match="max_batchsize"):
        text_format.Parse("max_batchsize { value: 1 }", messages.BatchingParameters())
