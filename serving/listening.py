"""Listening at an address that nobody else listens at, and saying why where that cannot be."""

from __future__ import annotations

import socket

import grpc

from protos.errors import UserError

# By default gRPC lets a second server take the same port, and half of its requests.
EXCLUSIVE_PORT = ("grpc.so_reuseport", 0)
_CHOOSE = " (0 lets the system choose)"


def format_address(host: str, port: int) -> str:
    """`host:port`, with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def require_free(host: str, port: int, flag: str = "--port") -> None:
    """Finds out, before a long load, that the address cannot be had, which `flag` gave.

    Raises:
      UserError: it is in use, not allowed, not of this machine or no address.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"{flag} {port} is no port; expected 0 to 65535, where 0 lets the system choose")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise _cannot_listen(host, port, error.strerror or str(error), flag) from error


def bind(server: grpc.Server, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
    """Binds a server made with EXCLUSIVE_PORT and returns its port, which the system chooses for 0.

    Raises:
      UserError: as `require_free`.
    """
    address = format_address(host, port)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:  # gRPC does not say why; ask again
        require_free(host, port)
        raise _cannot_listen(host, port, "gRPC could not bind it") from error


def _cannot_listen(host: str, port: int, reason: str, flag: str = "--port") -> UserError:
    return UserError(
        f"cannot listen at {format_address(host, port)}: {reason}; stop what listens there or give another {flag}"
        f"{_CHOOSE if flag == '--port' else ''}"
    )
