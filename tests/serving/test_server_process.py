"""The server as a process: its flags, its port, its signals."""

import signal
import socket
import time
from concurrent import futures

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from protos.errors import UserError
from serving.client import RecommendClient
from serving.listening import EXCLUSIVE_PORT, bind
from serving.options import ServerOptions, options_of, parser
from serving.server import EmbeddedServer, _stop_signal, main
from serving.versions import LoadRetries
from tests.support.served_models import write_toy_model
from tests.support.server_process import server_process


@pytest.fixture(scope="module")
def base_path(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    write_toy_model(base / "1")
    return base


def slow_request(steps):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "sparcode"
    request.model_spec.signature_name = "count"
    request.inputs["steps"].CopyFrom(tf.make_tensor_proto(np.array([steps])))
    return request


def test_sigterm_stops_it_gracefully(base_path, tmp_path):
    """What has begun is answered, the process says so, and its exit code is 0."""
    with (
        server_process(tmp_path, "--model_base_path", base_path, "--grace_seconds", 120) as (process, port),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        grpc.channel_ready_future(channel).result(timeout=60)
        slow = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict.future(slow_request(200_000))
        time.sleep(0.5)
        assert not slow.done()
        process.send_signal(signal.SIGTERM)
        assert slow.result(timeout=60).outputs["total"].int64_val == [200_000]
        assert process.wait(timeout=60) == 0
        ready, stopping = process.stdout.read().splitlines()
    assert ready == f"serving sparcode version 1 at 127.0.0.1:{port}"
    assert stopping == "stopping: requests that have begun are answered first"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_to_stop_and_a_second_would_end_the_process(number):
    handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = _stop_signal()
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.wait(timeout=5)
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


def test_a_request_that_never_ends_does_not_keep_it_from_stopping(base_path):
    server = EmbeddedServer(base_path, "sparcode", port=0).start()
    with grpc.insecure_channel(server.address) as channel:
        grpc.channel_ready_future(channel).result(timeout=60)
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        endless = stub.Predict.future(slow_request(10**12))
        time.sleep(0.2)
        server.stop(grace=0.2)
        assert endless.code() == grpc.StatusCode.UNAVAILABLE


def test_a_port_in_use_is_an_error_and_its_server_is_left_alone(base_path):
    with EmbeddedServer(base_path, "toy", port=0) as server, RecommendClient(server.address, "toy") as client:
        with pytest.raises(
            UserError, match=f"cannot listen at {server.address}: Address already in use; .* another --port"
        ):
            EmbeddedServer(base_path, "toy", port=server.port).start()
        assert client.recommend([["a"]])[0].model_version == 1


def test_a_port_that_another_program_listens_on(base_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match="Address already in use"):
            EmbeddedServer(base_path, "toy", port=port).start()


def test_of_two_servers_that_bind_at_once_the_second_is_refused():
    first, second = (grpc.server(futures.ThreadPoolExecutor(1), options=[EXCLUSIVE_PORT]) for _ in range(2))
    port = bind(first, "127.0.0.1", 0)
    with pytest.raises(UserError, match=f"cannot listen at 127.0.0.1:{port}: Address already in use"):
        bind(second, "127.0.0.1", port)


def test_a_port_is_free_again_after_a_stop_and_after_a_failed_start(base_path, tmp_path):
    with EmbeddedServer(base_path, "toy", port=0) as server:
        port = server.port
    with pytest.raises(UserError, match="no version is under"):
        EmbeddedServer(tmp_path, "toy", port=port).start()
    with EmbeddedServer(base_path, "toy", port=port) as server:
        assert server.port == port


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("127.0.0.1", 70000, "--port 70000 is no port; expected 0 to 65535"),
        ("192.0.2.1", 0, "cannot listen at 192.0.2.1:0: Cannot assign requested address"),
    ],
)
def test_an_address_that_cannot_be(base_path, host, port, message):
    with pytest.raises(UserError, match=message):
        EmbeddedServer(base_path, "toy", port, ServerOptions(host=host)).start()


def test_the_command_refuses_a_model_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"model base path .*/nowhere is not a directory"):
        main(["--model_base_path", str(tmp_path / "nowhere"), "--port", "0"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "nothing to serve: expected --model_base_path DIR or --model_config_file FILE"),
        (
            ["--model_config_file", "nowhere"],
            "--model_config_file nowhere: No such file .* text of a ModelServerConfig",
        ),
        (
            ["--model_base_path", ".", "--grpc_channel_arguments", "a=1,b"],
            "--grpc_channel_arguments: 'b' is no KEY=VALUE",
        ),
    ],
)
def test_flags_that_cannot_be(flags, message):
    with pytest.raises(UserError, match=message):
        main(flags)


def test_flags_are_given_as_the_stock_server_takes_them():
    text = (
        "--model_base_path=/models/toy --port=8501 --max_num_load_retries=1 --load_retry_interval_micros=2500000"
        " --allow_version_labels_for_unavailable_models=true --file_system_poll_wait_seconds=3 --grpc_max_threads=5"
        " --grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.primary_user_agent=x"
    )
    assert options_of(parser().parse_args(text.split())) == ServerOptions(
        max_threads=5,
        poll_seconds=3,
        retries=LoadRetries(most=1, seconds=2.5),
        labels_for_unavailable=True,
        channel_arguments={"grpc.max_connection_age_ms": 2000, "grpc.primary_user_agent": "x"},
    )


def test_a_configuration_file_that_is_none_is_refused_with_its_place(tmp_path):
    path = tmp_path / "models.config"
    path.write_text("model_config_list {\n  config { nmae: 'toy' }\n}")
    with pytest.raises(UserError, match=r'models.config is not the text of a ModelServerConfig: 2:12 : .*"nmae"'):
        main(["--model_config_file", str(path)])


def test_the_help_says_what_production_runs(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "production runs the stock tensorflow/serving image" in text
