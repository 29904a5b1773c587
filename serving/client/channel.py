"""How calls reach a server: addresses, TLS, and gRPC's own balancing and retries."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import grpc

from protos.errors import UserError

MAX_ATTEMPTS = 5
_SERVICE_CONFIG = {
    # Over all addresses that the name has, not only the first that answers.
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],  # every method
            "retryPolicy": {
                "maxAttempts": MAX_ATTEMPTS,
                "initialBackoff": "0.05s",  # each pause is drawn from 80 to 120% of what stands here
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                # Whatever else a server says, it would say again; and what it may have begun is not begun twice.
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # When most calls fail, retries would only keep the servers from recovering: a failure costs a token, an answer
    # brings a tenth of one, and below half of them nothing is tried again.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}
_OPTIONS = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.max_receive_message_length", 256 << 20),  # gRPC's 4 MiB are a few hundred long answers
    ("grpc.per_rpc_retry_buffer_size", 4 << 20),  # a request that is larger is not tried again
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class PredictError(Exception):
    """A call that was not answered.

    Attributes:
      code: gRPC's status code. NOT_FOUND: the model or version is not loaded; FAILED_PRECONDITION: it has
        no such signature; INVALID_ARGUMENT: the request is wrong; UNAVAILABLE: there is no server;
        DEADLINE_EXCEEDED: no answer in time.
      message: the server's words, or gRPC's where no server was reached.
    """

    def __init__(self, code: grpc.StatusCode, message: str, call: str) -> None:
        super().__init__(f"{call}: {code.name}: {message}")
        self.code = code
        self.message = message


@dataclasses.dataclass(frozen=True)
class Tls:
    """An encrypted channel, and with a key and a certificate one whose client the server knows (mutual TLS).

    Attributes:
      root_certificates: PEM file of the authorities that the client trusts; None is gRPC's own list.
      private_key: PEM file of the client's key.
      certificate: PEM file of the client's certificate, and those between it and its authority.
      server_name: the name in the server's certificate, where the address is another.
    """

    root_certificates: pathlib.Path | None = None
    private_key: pathlib.Path | None = None
    certificate: pathlib.Path | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """gRPC's credentials.

        Raises:
          UserError: a file cannot be read, or of key and certificate one is missing.
        """
        if (self.private_key is None) != (self.certificate is None):
            given = f"only {self.private_key or self.certificate}"
            raise UserError(f"mutual TLS needs the client's private key and its certificate, found {given}")
        files = (self.root_certificates, self.private_key, self.certificate)
        return grpc.ssl_channel_credentials(*map(_read, files))

    def options(self) -> tuple[tuple[str, str], ...]:
        """What the channel must be told besides."""
        return (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()


def _read(path: pathlib.Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; expected a PEM file") from error


def connect(address: str, tls: Tls | None) -> grpc.Channel:
    """A channel that connects with the first call.

    Args:
      address: `host:port`; `dns:///host:port`, which gRPC resolves again when connections end; or
        `ipv4:a:port,b:port`. Calls go to all addresses in turn.
      tls: None is an unencrypted channel.

    Raises:
      UserError: as `Tls.credentials`.
    """
    if tls is None:
        return grpc.insecure_channel(address, _OPTIONS)
    return grpc.secure_channel(address, tls.credentials(), (*_OPTIONS, *tls.options()))


def connect_async(address: str, tls: Tls | None) -> grpc.aio.Channel:
    """As `connect`, for a running event loop."""
    if tls is None:
        return grpc.aio.insecure_channel(address, _OPTIONS)
    return grpc.aio.secure_channel(address, tls.credentials(), (*_OPTIONS, *tls.options()))
