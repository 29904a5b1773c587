"""Retries, deadlines, several addresses and TLS, against real gRPC servers."""

import contextlib
import threading
import time
from concurrent import futures

import grpc
import pytest

from protos import predict_pb2
from protos.errors import UserError
from serving.client import PredictError, RecommendClient, Tls
from serving.client.channel import MAX_ATTEMPTS
from tests.serving.test_client_signatures import CLIENTS
from tests.support.certificates import Authority


class Scripted(grpc.GenericRpcHandler):
    """Answers every method with the statuses of a script, then with OK; keeps how often each call had been tried."""

    def __init__(self, name, script=(), delay=0.0):
        self.name, self.script, self.delay = name, list(script), delay
        self.attempts = []
        self._lock = threading.Lock()

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request, context):
        with self._lock:
            self.attempts.append(int(dict(context.invocation_metadata()).get("grpc-previous-rpc-attempts", 0)))
            code = self.script.pop(0) if self.script else None
        time.sleep(self.delay)
        if code:
            context.abort(code, f"{self.name} says no")
        status = predict_pb2.GetModelStatusResponse()
        status.model_version_status.add(version=1, state=30).status.error_message = self.name
        return status.SerializeToString()


@contextlib.contextmanager
def listening(*handlers, credentials=None):
    """A port for each handler."""
    servers, ports = [], []
    for handler in handlers:
        server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers([handler])
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        servers.append(server.start() or server)
        ports.append(port)
    try:
        yield ports
    finally:
        for server in servers:
            server.stop(0).wait()


@contextlib.contextmanager
def asking(kind, address, **options):
    client = CLIENTS[kind](address, **options)
    try:
        yield client
    finally:
        client.close()


UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
both = pytest.mark.parametrize("kind", CLIENTS)


@both
def test_unavailable_is_tried_again(kind):
    handler = Scripted("a", [UNAVAILABLE] * 3)
    with listening(handler) as (port,), asking(kind, f"127.0.0.1:{port}", timeout=30) as client:
        assert client.status()[0].version == 1
    assert handler.attempts == [0, 1, 2, 3]


@both
def test_no_call_is_tried_for_ever(kind):
    handler = Scripted("a", [UNAVAILABLE] * 100)
    with (
        listening(handler) as (port,),
        asking(kind, f"127.0.0.1:{port}", timeout=30) as client,
        pytest.raises(PredictError, match=f"GetModelStatus at 127.0.0.1:{port}: UNAVAILABLE: a says no"),
    ):
        client.status()
    assert handler.attempts == list(range(MAX_ATTEMPTS))


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code not in (grpc.StatusCode.OK, UNAVAILABLE)], ids=lambda c: c.name
)
def test_nothing_else_is_tried_again(code):
    handler = Scripted("a", [code])
    with listening(handler) as (port,), RecommendClient(f"127.0.0.1:{port}", timeout=30) as client:
        with pytest.raises(PredictError) as caught:
            client.status()
        assert caught.value.code == code
    assert handler.attempts == [0]


@both
def test_the_deadline_spans_the_retries(kind):
    """Each attempt alone would be over in time."""
    handler = Scripted("a", [UNAVAILABLE] * 100, delay=0.3)
    with listening(handler) as (port,), asking(kind, f"127.0.0.1:{port}", timeout=1) as client:
        with pytest.raises(PredictError) as caught:
            client.status()
        assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert 1 < len(handler.attempts) < MAX_ATTEMPTS


def test_the_deadline_spans_all_calls_of_a_method():
    handler = Scripted("a", delay=0.8)
    with listening(handler) as (port,), RecommendClient(f"127.0.0.1:{port}", timeout=1) as client:
        with pytest.raises(PredictError) as caught:
            client.explain([["1"]])  # asks for the signatures first
        assert caught.value.code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.FAILED_PRECONDITION)
    assert len(handler.attempts) == 1


def test_when_most_calls_fail_retries_end():
    """Else a server that is down would be asked five times as much as one that is up."""
    handler = Scripted("a", [UNAVAILABLE] * 1000)
    with listening(handler) as (port,), RecommendClient(f"127.0.0.1:{port}", timeout=30) as client:

        def fail():
            with pytest.raises(PredictError):
                client.status()

        with futures.ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(fail) for _ in range(60)]:
                done.result()
        before = len(handler.attempts)
        fail()
    assert len(handler.attempts) == before + 1


@both
def test_calls_go_to_all_addresses_in_turn(kind):
    handlers = [Scripted(name) for name in "abc"]
    with listening(*handlers) as ports:
        address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        with asking(kind, address, timeout=30) as client:
            while not all(handler.attempts for handler in handlers):  # connections are made one after the other
                client.status()
            names = [client.status()[0].error for _ in range(9)]
    assert sorted(names) == sorted("abcabcabc")


def test_a_call_that_one_address_cannot_take_goes_to_another():
    refusing, answering = Scripted("a", [UNAVAILABLE] * 100), Scripted("b")
    with listening(refusing, answering) as ports:
        address = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        with RecommendClient(address, timeout=30) as client:
            assert {client.status()[0].error for _ in range(10)} == {"b"}
    assert refusing.attempts


def test_a_server_that_goes_is_left_out():
    handlers = Scripted("a"), Scripted("b")
    with listening(handlers[0]) as (first,), contextlib.ExitStack() as going:
        (second,) = going.enter_context(listening(handlers[1]))
        with RecommendClient(f"ipv4:127.0.0.1:{first},127.0.0.1:{second}", timeout=30) as client:
            while not handlers[1].attempts:
                client.status()
            going.close()
            assert {client.status()[0].error for _ in range(20)} == {"a"}


def test_a_name_is_resolved():
    with listening(Scripted("a")) as (port,), RecommendClient(f"dns:///localhost:{port}", timeout=30) as client:
        assert client.status()[0].error == "a"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@both
def test_tls(kind, authority):
    credentials = grpc.ssl_server_credentials([authority.issue_server().read()])
    with listening(Scripted("a"), credentials=credentials) as (port,):
        with asking(kind, f"127.0.0.1:{port}", timeout=30, tls=Tls(authority.certificate)) as client:
            assert client.status()[0].error == "a"
        with (
            asking(kind, f"127.0.0.1:{port}", timeout=30, tls=Tls()) as stranger,  # trusts others
            pytest.raises(PredictError, match=r"UNAVAILABLE: .*CERTIFICATE_VERIFY_FAILED"),
        ):
            stranger.status()


@both
def test_mutual_tls(kind, authority):
    root = authority.certificate
    client_pair = authority.issue_client()
    credentials = grpc.ssl_server_credentials([authority.issue_server().read()], root.read_bytes(), True)
    with listening(Scripted("a"), credentials=credentials) as (port,):
        known = Tls(root, client_pair.key, client_pair.certificate)
        with asking(kind, f"127.0.0.1:{port}", timeout=30, tls=known) as client:
            assert client.status()[0].error == "a"
        with (
            asking(kind, f"127.0.0.1:{port}", timeout=30, tls=Tls(root)) as anonymous,
            pytest.raises(PredictError, match="UNAVAILABLE"),
        ):
            anonymous.status()


def test_the_name_in_the_certificate_may_be_another(authority):
    credentials = grpc.ssl_server_credentials([authority.issue_server().read()])
    with listening(Scripted("a"), credentials=credentials) as (port,):
        for name, works in (("localhost", True), ("elsewhere", False)):
            tls = Tls(authority.certificate, server_name=name)
            with RecommendClient(f"127.0.0.1:{port}", timeout=30, tls=tls) as client:
                if works:
                    assert client.status()[0].error == "a"
                else:
                    with pytest.raises(PredictError, match="UNAVAILABLE"):
                        client.status()


def test_files_of_tls_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*gone\.pem: No such file or directory; expected a PEM file"):
        RecommendClient(tls=Tls(tmp_path / "gone.pem"))
    with pytest.raises(UserError, match=r"needs the client's private key and its certificate, found only key\.pem"):
        Tls(private_key="key.pem").credentials()
