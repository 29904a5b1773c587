"""Listening at an address that nobody else listens at, and saying why where that cannot be."""

from __future__ import annotations

import socket

import grpc

from protos.errors import UserError

# By default gRPC lets a second server take the same port, and half of its requests.
EXCLUSIVE_PORT = ("grpc.so_reuseport", 0)


def format_address(host: str, port: int) -> str:
    """`host:port`, with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(server: grpc.Server, host: str, port: int) -> int:
    """Binds a server made with EXCLUSIVE_PORT and returns its port, which the system chooses for 0.

    Raises:
      UserError: the address is in use, not allowed, not of this machine or no address.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port} is no port; expected 0 to 65535, where 0 lets the system choose")
    address = format_address(host, port)
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise UserError(
            f"cannot listen at {address}: {_reason(host, port)}; stop what listens there or give another --port (0 lets"
            " the system choose)"
        ) from error


def _reason(host: str, port: int) -> str:
    """What the system says to a bind that gRPC only calls failed."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        return error.strerror or str(error)
    return "it was in use a moment ago"
