"""TLS and mutual TLS, configured as TensorFlow Serving's are."""

from __future__ import annotations

import os
import ssl
import tempfile

import grpc

from protos.errors import UserError
from protos.ssl_config_pb2 import SSLConfig
from serving.text_protos import read_text_proto

FLAG = "--ssl_config_file"


def read_credentials(path: str | os.PathLike[str]) -> grpc.ServerCredentials:
    """The credentials of a file with the text of an SSLConfig, whose fields hold PEM, not paths.

    With `client_verify`, clients need a certificate of one of the authorities in `custom_ca`.

    Raises:
      UserError: the file cannot be read; key or certificate is missing, is none, or does not fit the other;
        clients shall be verified, but there is nothing to verify them by.
    """
    config = read_text_proto(path, SSLConfig, FLAG)
    needed = ["server_key", "server_cert", *(["custom_ca"] if config.client_verify else [])]
    for field in needed:
        if "-----BEGIN " not in getattr(config, field):
            raise UserError(
                f"{FLAG} {path}: {field} is {'no PEM' if getattr(config, field) else 'missing'}; expected the contents"
                ' of the file, "-----BEGIN ...", not its path'
            )
    try:
        _try(config)
    except (ssl.SSLError, ValueError) as error:
        raise UserError(
            f"{FLAG} {path}: OpenSSL refuses it: {error}; expected a certificate, its key without a password, and"
            " certificates of authorities"
        ) from error
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def _try(config: SSLConfig) -> None:
    """Loads what gRPC would load without a word, and then answer nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w") as file:  # of this user alone, as the key in it must be
        file.write(f"{config.server_cert}\n{config.server_key}")
        file.flush()
        context.load_cert_chain(file.name, password="")
    if config.custom_ca:
        context.load_verify_locations(cadata=config.custom_ca)
