"""The cluster's name server: a headless service is the addresses of its ready pods."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

_TTL_SECONDS = 5  # CoreDNS's, of Kubernetes' names


class NameServer:
    """Answers over UDP while a `with` block runs.

    Args:
      host: where it listens; the port is the system's choice.
      addresses: of a name; None where there is no such name.
    """

    def __init__(self, host: str, addresses: Callable[[str], Sequence[str] | None]) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, socket = self.request
                if answer := _answer(data, addresses):
                    socket.sendto(answer, self.client_address)

        self._server = socketserver.ThreadingUDPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="names", daemon=True)
        self.authority = f"{host}:{self._server.server_address[1]}"

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _answer(data: bytes, addresses: Callable[[str], Sequence[str] | None]) -> bytes | None:
    try:
        query = dns.message.from_wire(data)
        (question,) = query.question
    except (dns.exception.DNSException, ValueError):
        return None
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA
    found = addresses(question.name.to_text(omit_final_dot=True))
    if not found:
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype == dns.rdatatype.A:
        response.answer.append(dns.rrset.from_text(question.name, _TTL_SECONDS, "IN", "A", *found))
    return response.to_wire()
