"""The embedded server: TensorFlow Serving's gRPC API in one Python process, for development and tests."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import pathlib
import signal
import threading
from collections.abc import Sequence
from concurrent import futures
from types import FrameType, TracebackType

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from protos.errors import UserError, run_cli
from serving.listening import EXCLUSIVE_PORT, bind, format_address, require_free
from serving.services import ModelService, PredictionService
from serving.versions import ModelVersions

DEFAULT_PORT = 8500  # TensorFlow Serving's
_GRACE_SECONDS = 10.0
_GRPC_OPTIONS = (
    EXCLUSIVE_PORT,
    ("grpc.max_receive_message_length", -1),  # no limit, as TensorFlow Serving
    ("grpc.max_send_message_length", -1),
)
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """What a server may be told besides its model and port.

    Attributes:
      host: the address to listen at.
      max_workers: requests answered side by side; 0 means four a core, as TensorFlow Serving.
      poll_seconds: how often to look for new versions; 0 means at the start only.
      versions: the versions to serve; none means the newest.
    """

    host: str = "127.0.0.1"
    max_workers: int = 0
    poll_seconds: float = 0.0
    versions: tuple[int, ...] = ()


class EmbeddedServer:
    """Serves one model from `start` to `stop`, or while a `with` block runs.

    Example:
      with EmbeddedServer("build/servable", "sparcode", port=0) as server:
          client = RecommendClient(server.address)
    """

    def __init__(
        self,
        model_base_path: str | os.PathLike[str],
        model_name: str = "sparcode",
        port: int = DEFAULT_PORT,
        options: ServerOptions = ServerOptions(),
    ) -> None:
        """Starts nothing yet.

        Args:
          model_base_path: the directory of the numbered version directories, each a SavedModel.
          model_name: what requests call the model.
          port: 0 lets the system choose.
          options: the rest.
        """
        self._versions = ModelVersions(model_name, model_base_path, options.versions)
        self._base_path = pathlib.Path(model_base_path)
        self._requested_port = port
        self._options = options
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="poll-versions", daemon=True)
        self._health = health.HealthServicer()  # SERVING from the start, which is when the model is loaded
        self._server = self._make_server()
        self.port = 0  # the real one, from `start` on

    @property
    def address(self) -> str:
        """Where clients find the server, as `host:port`."""
        return format_address(self._options.host, self.port)

    def start(self) -> EmbeddedServer:
        """Loads the model and only then opens the port, as TensorFlow Serving does.

        Raises:
          UserError: the port cannot be had, which is found out first; or there is no version to serve, or
            one cannot be loaded.
        """
        require_free(self._options.host, self._requested_port)
        self._load()
        self.port = bind(self._server, self._options.host, self._requested_port)
        self._server.start()
        if self._options.poll_seconds > 0:
            self._poller.start()
        return self

    def stop(self, grace: float = _GRACE_SECONDS) -> None:
        """Takes no new requests, gives those begun `grace` seconds to end, and cancels the rest."""
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        self._server.stop(grace).wait()
        if self._poller.is_alive():
            self._poller.join()
        self._versions.close()

    def available_versions(self) -> list[int]:
        """The versions that answer now, newest first."""
        return self._versions.available()

    def __enter__(self) -> EmbeddedServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _make_server(self) -> grpc.Server:
        workers = self._options.max_workers or 4 * (os.cpu_count() or 1)
        server = grpc.server(futures.ThreadPoolExecutor(workers, "rpc"), options=_GRPC_OPTIONS)
        models = {self._versions.name: self._versions}
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(models), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(models), server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server

    def _load(self) -> None:
        """Loads what is there now; a server that starts has every version that it was asked for."""
        self._versions.refresh()
        for version, status in self._versions.statuses().items():
            if status.error:
                raise UserError(f"version {version} of model {self._versions.name} cannot be served: {status.error}")
        missing = sorted(set(self._options.versions) - set(self._versions.available()))
        if missing or not self._versions.available():
            raise UserError(_no_version_message(self._base_path, missing))

    def _poll(self) -> None:
        while not self._stopping.wait(self._options.poll_seconds):
            try:
                self._versions.refresh()
            except Exception:  # whatever is wrong on disk, what is loaded goes on answering
                _log.exception("looking for new versions under %s failed", self._base_path)


def _no_version_message(base_path: pathlib.Path, missing: Sequence[int]) -> str:
    found = sorted(path.name for path in base_path.iterdir())
    if "saved_model.pb" in found:
        return f"{base_path} is itself a SavedModel; give the directory above it, whose versions are named by numbers"
    wanted = f"version {missing[0]}" if missing else "no version"
    verb = "is not" if missing else "is"
    return (
        f"{wanted} {verb} under {base_path}: found {found}; expected a directory named by"
        f" {'that' if missing else 'a'} number, such as {missing[0] if missing else 1}/, with a SavedModel in it"
    )


def _stop_signal() -> threading.Event:
    """An event that the first SIGTERM or SIGINT sets; a second one ends the process at once."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.server",
        description=(
            "Serve a SavedModel over TensorFlow Serving's gRPC API: PredictionService (Predict, GetModelMetadata),"
            " ModelService (GetModelStatus) and grpc.health.v1, without authentication. For development and tests:"
            " production runs the stock tensorflow/serving image on the same directory, and clients see no difference."
        ),
        epilog="example: python -m serving.server --model_base_path build/demo/servable --port 8500",
    )
    parser.add_argument("--model_base_path", required=True, help="directory with numbered versions in it: 1/, 2/, ...")
    parser.add_argument("--model_name", default="sparcode", help="what requests call the model (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="0 lets the system choose (default: %(default)s)"
    )
    parser.add_argument("--port_file", metavar="FILE", help="write the port there once the server answers")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument(
        "--max_workers",
        type=int,
        default=0,
        metavar="N",
        help="requests answered side by side (default: 4 a core)",
    )
    parser.add_argument(
        "--file_system_poll_wait_seconds",
        type=float,
        default=1.0,
        metavar="S",
        help="how often to look for new versions; 0: at the start only (default: %(default)s)",
    )
    parser.add_argument(
        "--specific_version",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="serve version N whether or not it is the newest; may be given again (default: the newest)",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Serves until SIGTERM or SIGINT."""
    flags = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    options = ServerOptions(
        host=flags.host,
        max_workers=flags.max_workers,
        poll_seconds=flags.file_system_poll_wait_seconds,
        versions=tuple(flags.specific_version),
    )
    with EmbeddedServer(flags.model_base_path, flags.model_name, flags.port, options) as server:
        stop = _stop_signal()
        versions = ", ".join(map(str, server.available_versions()))
        print(f"serving {flags.model_name} version {versions} at {server.address}", flush=True)
        if flags.port_file:
            _write_port_file(pathlib.Path(flags.port_file), server.port)
        stop.wait()
        print("stopping: requests that have begun are answered first", flush=True)
    return 0


def _write_port_file(path: pathlib.Path, port: int) -> None:
    temporary = path.with_name(f"{path.name}.tmp")  # whoever waits for the file finds it whole
    temporary.write_text(f"{port}\n")
    temporary.rename(path)


if __name__ == "__main__":
    run_cli(main)
