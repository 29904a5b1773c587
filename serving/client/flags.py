"""Flags that say which server to ask and how, for every command that asks one."""

from __future__ import annotations

import argparse
import pathlib
from typing import NamedTuple

from serving.client.channel import Tls
from serving.client.sync import DEFAULT_ADDRESS, DEFAULT_MODEL, DEFAULT_TIMEOUT_SECONDS


class Connection(NamedTuple):
    """What a client is made with, in the order of its arguments."""

    address: str
    model: str
    timeout: float
    tls: Tls | None


def add_connection_flags(parser: argparse.ArgumentParser) -> None:
    """Adds --address, --model, --timeout and those of TLS."""
    parser.add_argument(
        "--address",
        default=DEFAULT_ADDRESS,
        help="host:port of the server, dns:///host:port, or ipv4:host:port,host:port (default: %(default)s)",
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="what the server calls it (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_SECONDS, help="seconds (default: %(default)s)")
    tls = parser.add_argument_group("TLS", "one of these makes the channel an encrypted one")
    tls.add_argument("--tls", action="store_true", help="trust the authorities that gRPC knows")
    tls.add_argument("--root_certificates", type=pathlib.Path, metavar="PEM", help="authorities to trust instead")
    tls.add_argument("--private_key", type=pathlib.Path, metavar="PEM", help="of the client, where the server asks")
    tls.add_argument("--certificate", type=pathlib.Path, metavar="PEM", help="of the client, where the server asks")
    tls.add_argument(
        "--server_name", default="", help="the name in the server's certificate, where the address differs"
    )


def connection(flags: argparse.Namespace) -> Connection:
    """What the flags say."""
    tls = Tls(flags.root_certificates, flags.private_key, flags.certificate, flags.server_name)
    return Connection(flags.address, flags.model, flags.timeout, tls if flags.tls or tls != Tls() else None)
