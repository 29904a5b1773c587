"""TLS and mutual TLS of the server, with certificates made here, and gRPC's own client."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.errors import UserError
from protos.ssl_config_pb2 import SSLConfig
from serving.options import options_of, parser
from serving.server import EmbeddedServer
from tests.support.certificates import Authority
from tests.support.served_models import write_toy_model


@pytest.fixture(scope="module")
def base_path(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    write_toy_model(base / "1")
    return base


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"))


def write_config(path, authority, **fields):
    """An SSLConfig file as a user writes one, with the contents of the PEM files."""
    pair = authority.issue_server()
    fields = {"server_key": pair.key.read_text(), "server_cert": pair.certificate.read_text()} | fields
    path.write_text(str(SSLConfig(**fields)))
    return path


def start(base_path, config_file):
    options = options_of(parser().parse_args(["--ssl_config_file", str(config_file)]))
    return EmbeddedServer(base_path, "toy", 0, options)


@pytest.fixture(scope="module")
def server(base_path, authority, tmp_path_factory):
    with start(base_path, write_config(tmp_path_factory.mktemp("config") / "ssl", authority)) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(base_path, authority, tmp_path_factory):
    """A server that asks for clients' certificates."""
    config = write_config(
        tmp_path_factory.mktemp("config") / "ssl",
        authority,
        custom_ca=authority.certificate.read_text(),
        client_verify=True,
    )
    with start(base_path, config) as server:
        yield server


def check(address, authority, pair=None):
    """SERVING, or the code of the failure."""
    key, certificate = pair.read() if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes(), key, certificate)
    with grpc.secure_channel(address, credentials) as channel:
        return ask(channel)


def ask(channel):
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    except grpc.RpcError as error:
        return error.code().name


def test_a_client_that_trusts_the_authority_is_answered(server, authority):
    assert check(server.address, authority) == "SERVING"
    assert check(f"localhost:{server.port}", authority) == "SERVING"


def test_a_client_that_trusts_another_authority_does_not_talk_to_the_server(server, stranger):
    assert check(server.address, stranger) == "UNAVAILABLE"


def test_nothing_is_said_in_the_clear(server):
    with grpc.insecure_channel(server.address) as channel:
        assert ask(channel) == "UNAVAILABLE"


def test_mutual_tls_answers_those_with_a_certificate_of_the_authority_alone(mutual, authority, stranger):
    assert check(mutual.address, authority, authority.issue_client()) == "SERVING"
    assert check(mutual.address, authority) == "UNAVAILABLE"
    assert check(mutual.address, authority, stranger.issue_client()) == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"server_key": ""}, "ssl: server_key is missing; expected the contents of the file"),
        ({"server_cert": "/etc/server.crt"}, "ssl: server_cert is no PEM; expected the contents of the file"),
        ({"client_verify": True}, "ssl: custom_ca is missing; expected the contents of the file"),
        ({"server_cert": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "ssl: OpenSSL refuses it"),
        ({"custom_ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "ssl: OpenSSL refuses it"),
    ],
    ids=["no key", "a path", "nothing to verify by", "no certificate", "no certificate of an authority"],
)
def test_a_configuration_of_tls_that_cannot_be(base_path, authority, tmp_path, fields, message):
    config = write_config(tmp_path / "ssl", authority, **fields)
    with pytest.raises(UserError, match=message):
        start(base_path, config)


def test_the_key_of_another_certificate_is_refused(base_path, authority, stranger, tmp_path):
    other = stranger.issue_server().key.read_text()
    config = write_config(tmp_path / "ssl", authority, server_key=other)
    with pytest.raises(UserError, match=r"ssl: OpenSSL refuses it: .*KEY_VALUES_MISMATCH"):
        start(base_path, config)
