"""The embedded server: TensorFlow Serving's gRPC API in one Python process, for development and tests."""

from __future__ import annotations

import logging
import os
import pathlib
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent import futures
from types import FrameType, TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from protos.artifact import write_whole
from protos.errors import run_cli
from serving.decoding import RefuseUndecodable
from serving.listening import EXCLUSIVE_PORT, bind, format_address, require_free
from serving.memory import keep_what_is_there
from serving.model_config import ModelServerConfig, single_model
from serving.models import Models
from serving.monitoring import MetricsPage
from serving.options import DEFAULT_OPTIONS, DEFAULT_PORT, ServerOptions, models_of, options_of, parser
from serving.services import ModelService, PredictionService

_CHANNEL_ARGUMENTS: Mapping[str, int | str] = dict(
    [
        EXCLUSIVE_PORT,
        ("grpc.max_receive_message_length", -1),  # no limit, as TensorFlow Serving
        ("grpc.max_send_message_length", -1),
    ]
)


class ModelServer:
    """Serves the models of a configuration from `start` to `stop`, or while a `with` block runs."""

    def __init__(
        self, config: ModelServerConfig, port: int = DEFAULT_PORT, options: ServerOptions = DEFAULT_OPTIONS
    ) -> None:
        """Starts nothing yet.

        Args:
          config: the models to begin with.
          port: 0 lets the system choose.
          options: the rest.
        """
        self.models = Models(options.retries, options.labels_for_unavailable)
        self._config = config
        self._requested_port = port
        self._options = options
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="poll-versions", daemon=True)
        self._health = health.HealthServicer()  # SERVING from the start, which is when the models are loaded
        self._server = self._make_server()
        self.port = 0  # the real ones, from `start` on
        self.metrics_port = 0
        self._page: MetricsPage | None = None

    @property
    def address(self) -> str:
        """Where clients find the server, as `host:port`."""
        return format_address(self._options.host, self.port)

    def start(self) -> Self:
        """Loads the models and only then opens the port, as TensorFlow Serving does.

        Raises:
          UserError: the port cannot be had, which is found out first; or of a model there is no version to
            serve, or none can be loaded; or the configuration breaks a rule.
        """
        require_free(self._options.host, self._requested_port)
        self._start_metrics()
        try:
            self.models.start(self._config)
            self.port = bind(self._server, self._options.host, self._requested_port, self._options.credentials)
        except BaseException:
            self._stop_metrics()
            raise
        self._server.start()
        if self._options.poll_seconds > 0:
            self._poller.start()
        return self

    def stop(self, grace: float | None = None) -> None:
        """Takes no new requests, gives those begun `grace` seconds (or the option's) to end, and cancels the rest."""
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        self._server.stop(self._options.grace_seconds if grace is None else grace).wait()
        if self._poller.is_alive():
            self._poller.join()
        self.models.close()
        self._stop_metrics()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _make_server(self) -> grpc.Server:
        server = grpc.server(
            futures.ThreadPoolExecutor(self._options.max_threads or 4 * (os.cpu_count() or 1), "rpc"),
            interceptors=[RefuseUndecodable()],
            options=list({**_CHANNEL_ARGUMENTS, **self._options.channel_arguments}.items()),
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(self.models), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(self.models), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server

    def _start_metrics(self) -> None:
        """Metrics are there while the models load, as TensorFlow Serving's REST port is not: loads that fail show."""
        if self._options.monitoring is not None:
            self._page = MetricsPage(self._options.host, self._options.monitoring, self.models.metrics.page)
            self._page.start()
            self.metrics_port = self._page.port

    def _stop_metrics(self) -> None:
        if self._page is not None:
            self._page.stop()
            self._page = None

    def _poll(self) -> None:
        while not self._stopping.wait(self._options.poll_seconds):
            self.models.refresh()


class EmbeddedServer(ModelServer):
    """Serves one model.

    Example:
      with EmbeddedServer("build/servable", "sparcode", port=0) as server:
          client = RecommendClient(server.address)
    """

    def __init__(
        self,
        model_base_path: str | os.PathLike[str],
        model_name: str = "sparcode",
        port: int = DEFAULT_PORT,
        options: ServerOptions = DEFAULT_OPTIONS,
        versions: Sequence[int] = (),
    ) -> None:
        """Starts nothing yet.

        Args:
          model_base_path: the directory of the numbered version directories, each a SavedModel.
          model_name: what requests call the model.
          port: 0 lets the system choose.
          options: the rest.
          versions: the versions to serve; none means the newest.
        """
        super().__init__(single_model(model_name, model_base_path, versions), port, options)
        self._model_name = model_name

    def available_versions(self) -> list[int]:
        """The versions that answer now, newest first."""
        return self.models.available()[self._model_name]


def _stop_signal() -> threading.Event:
    """An event that the first SIGTERM or SIGINT sets; a second one ends the process at once."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def main(argv: Sequence[str]) -> int:
    """Serves until SIGTERM or SIGINT."""
    flags = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    keep_what_is_there()
    with ModelServer(models_of(flags), flags.port, options_of(flags)) as server:
        stop = _stop_signal()
        print(f"serving {_served(server.models)} at {server.address}", flush=True)
        if flags.port_file:
            write_whole(pathlib.Path(flags.port_file), f"{server.port}\n")
        stop.wait()
        print("stopping: requests that have begun are answered first", flush=True)
    return 0


def _served(models: Models) -> str:
    return "; ".join(f"{name} version {', '.join(map(str, found))}" for name, found in models.available().items())


if __name__ == "__main__":
    run_cli(main)
