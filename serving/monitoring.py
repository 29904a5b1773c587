"""Metrics over HTTP, where Prometheus finds TensorFlow Serving's: under a path of the REST port."""

from __future__ import annotations

import dataclasses
import http.server
import os
import socket
import threading
from collections.abc import Callable

from protos.errors import UserError
from protos.monitoring_config_pb2 import MonitoringConfig
from serving.listening import require_free
from serving.text_protos import read_text_proto

DEFAULT_PATH = "/monitoring/prometheus/metrics"  # TensorFlow Serving's
_FLAG = "--monitoring_config_file"


@dataclasses.dataclass(frozen=True)
class Monitoring:
    """Where metrics are.

    Attributes:
      port: 0 lets the system choose.
      path: begins with a slash.
    """

    port: int = 0
    path: str = DEFAULT_PATH


def read_monitoring(path: str | os.PathLike[str], port: int) -> Monitoring | None:
    """What a file with the text of a MonitoringConfig asks for: None where it does not enable metrics, or has no port.

    Raises:
      UserError: the file cannot be read, is no MonitoringConfig, or its path does not begin with a slash.
    """
    prometheus = read_text_proto(path, MonitoringConfig, _FLAG).prometheus_config
    where = prometheus.path or DEFAULT_PATH
    if not where.startswith("/"):
        raise UserError(f"{_FLAG} {path}: prometheus_config.path is {where!r}; expected one that begins with a slash")
    return Monitoring(port, where) if prometheus.enable and port else None


class MetricsPage:
    """Serves a page from `start` to `stop`; everything but its path is NOT FOUND: there is no REST API here."""

    def __init__(self, host: str, monitoring: Monitoring, page: Callable[[], str]) -> None:
        """Listens at once, so that a port that cannot be had is found out before a long load.

        Raises:
          UserError: the port cannot be had.
        """
        require_free(host, monitoring.port, "--rest_api_port")
        server = type("_Server", (_Server,), {"address_family": _family(host)})
        self._server = server((host, monitoring.port), _handler(monitoring.path, page))
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        """Begins to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Ends; what has begun is answered first."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _handler(path: str, page: Callable[[], str]) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 10  # seconds that a connection may stay silent

        def do_GET(self) -> None:  # the name that the library looks for
            if self.path.partition("?")[0] != path:
                self.send_error(404, f"only {path} is here")
                return
            content = page().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *values: object) -> None:
            """Nothing: Prometheus comes every few seconds."""

    return Handler
