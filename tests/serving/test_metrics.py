"""Metrics of the embedded server, as Prometheus finds them."""

import urllib.error
import urllib.request

import pytest

from protos.errors import UserError
from serving.client import PredictError, RecommendClient
from serving.metrics import ServerMetrics
from serving.monitoring import DEFAULT_PATH, Monitoring, read_monitoring
from serving.options import ServerOptions
from serving.server import EmbeddedServer
from tests.support.metrics import Sample, fetch, parse
from tests.support.served_models import write_toy_model


@pytest.fixture(scope="module")
def base_path(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    write_toy_model(base / "1")
    return base


def value(samples, name, **labels):
    """The value of the one series that has these labels."""
    (found,) = (sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())
    return found


def test_requests_are_counted_by_status_and_only_answers_are_timed(base_path):
    options = ServerOptions(monitoring=Monitoring())
    with EmbeddedServer(base_path, "toy", 0, options) as server, RecommendClient(server.address, "toy") as client:
        for _ in range(3):
            client.recommend([["a", "b"]])
        with pytest.raises(PredictError, match="INVALID_ARGUMENT"):
            client.predict({"no input": [1]})
        with pytest.raises(PredictError, match="NOT_FOUND"):
            RecommendClient(server.address, "a stranger's word").recommend([["a"]])
        samples = fetch(f"127.0.0.1:{server.metrics_port}")
    count = ":tensorflow:serving:request_count"
    assert value(samples, count, model_name="toy", status="OK") == 3
    assert value(samples, count, model_name="toy", status="INVALID_ARGUMENT") == 1
    assert value(samples, count, model_name="", status="NOT_FOUND") == 1
    for kind, labels in (("request", {"entrypoint": "GRPC"}), ("runtime", {"runtime": "TF1"})):
        name = f":tensorflow:serving:{kind}_latency"
        labels |= {"model_name": "toy", "API": "Predict"}
        assert value(samples, f"{name}_count", **labels) == 3
        assert 3 * 10 < value(samples, f"{name}_sum", **labels) < 60e6
        assert value(samples, f"{name}_bucket", le="+Inf", **labels) == 3
    loads = ":tensorflow:cc:saved_model:load_attempt_count"
    assert value(samples, loads, model_path=str(base_path / "1"), status="success") == 1


def test_a_load_that_fails_is_counted(base_path, tmp_path):
    (tmp_path / "7").mkdir()
    server = EmbeddedServer(tmp_path, "toy", 0)
    with pytest.raises(UserError, match="cannot be served"):
        server.start()
    path = str(tmp_path / "7")
    assert value(parse(server.models.metrics.page()), ":tensorflow:cc:saved_model:load_attempt_count") == 1
    assert f'model_path="{path}",status="fail"' in server.models.metrics.page()


def test_buckets_are_cumulative_and_grow_by_1_8():
    metrics = ServerMetrics()
    for microseconds in (5, 10, 17, 30, 1e12):
        metrics.run("m", microseconds / 1e6)
    buckets = [sample for sample in parse(metrics.page()) if sample.name.endswith("runtime_latency_bucket")]
    assert [sample.labels["le"] for sample in buckets[:4]] == ["10", "18", "32.4", "58.32"]
    # What is exactly at a limit belongs to the bucket above it, as in TensorFlow.
    assert [sample.value for sample in buckets[:4]] == [1, 3, 4, 4]
    assert (buckets[-1].labels["le"], buckets[-1].value, len(buckets)) == ("+Inf", 5, 34)


def test_values_of_labels_are_escaped():
    metrics = ServerMetrics()
    metrics.load('a "b"\\c', True)
    assert parse(metrics.page()) == [
        Sample(":tensorflow:cc:saved_model:load_attempt_count", {"model_path": 'a "b"\\c', "status": "success"}, 1.0)
    ]


def test_nothing_but_the_page_is_there(base_path):
    options = ServerOptions(monitoring=Monitoring(path="/m"))
    with EmbeddedServer(base_path, "toy", 0, options) as server:
        assert fetch(f"127.0.0.1:{server.metrics_port}", "/m")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}{DEFAULT_PATH}", timeout=10)
        with pytest.raises(UserError, match=f"cannot listen at 127.0.0.1:{server.metrics_port}: .*--rest_api_port"):
            EmbeddedServer(base_path, "toy", 0, ServerOptions(monitoring=Monitoring(server.metrics_port))).start()


def test_the_file_says_where(tmp_path):
    path = tmp_path / "monitoring.config"
    path.write_text('prometheus_config { enable: true path: "/p" }')
    assert read_monitoring(path, 8501) == Monitoring(8501, "/p")
    assert read_monitoring(path, 0) is None
    path.write_text("prometheus_config { enable: true }")
    assert read_monitoring(path, 8501) == Monitoring(8501, DEFAULT_PATH)
    path.write_text("")
    assert read_monitoring(path, 8501) is None
    path.write_text('prometheus_config { enable: true path: "p" }')
    with pytest.raises(UserError, match="'p'; expected one that begins with a slash"):
        read_monitoring(path, 8501)
