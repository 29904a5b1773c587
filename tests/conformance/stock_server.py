"""`python -m tests.conformance.stock_server`: the conformance suite against TensorFlow Serving itself.

Starts the image tensorflow/serving of the pinned version by docker, or else the binary tensorflow_model_server, on a
directory of versions, runs the suite, and says what it used. Where neither can be had it says so and fails.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence

import grpc

from protos.errors import UserError, run_cli
from serving.batching import Batching
from tests.conformance.endpoint import Endpoint, Settings

ROOT = pathlib.Path(__file__).parents[2]
IMAGE = "tensorflow/serving:2.20.0"
BINARY = "tensorflow_model_server"
MODEL = "sparcode"
BATCHING_FILE = "batching.pbtxt"
_CONTAINER_PORT = 8500
_START_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the server finds what it is given: on this machine, or in a container.

    Attributes:
      models: the model base path.
      config: a directory of configuration files.
      port: to listen at.
    """

    models: pathlib.Path
    config: pathlib.Path
    port: int

    def flags(self, batching: bool) -> list[str]:
        """Flags of tensorflow_model_server."""
        flags = [
            f"--port={self.port}",
            f"--model_name={MODEL}",
            f"--model_base_path={self.models}",
            "--enable_grpc_healthcheck_service",
        ]
        if batching:
            flags += ["--enable_batching", f"--batching_parameters_file={self.config / BATCHING_FILE}"]
        return flags


@dataclasses.dataclass(frozen=True)
class Server:
    """A TensorFlow Serving that can be had here.

    Attributes:
      what: in words.
      command: that runs it in the foreground.
      flags: of the server, which the command has too.
      cleanup: a command that ends it for sure.
    """

    what: str
    command: Sequence[str]
    flags: Sequence[str]
    cleanup: Sequence[str] = ()


def find_server(places: Places, batching: bool) -> Server:
    """The image, where docker can run it, or else the binary.

    Raises:
      UserError: there is neither; says why.
    """
    docker, binary = shutil.which("docker"), shutil.which(BINARY)
    trouble = _trouble_with_docker(docker)
    if docker and not trouble:
        inside = Places(pathlib.Path("/models") / MODEL, pathlib.Path("/config"), _CONTAINER_PORT)
        name, flags = f"sparcode-conformance-{uuid.uuid4().hex[:8]}", inside.flags(batching)
        mounts = ["-v", f"{places.models}:{inside.models}:ro", "-v", f"{places.config}:{inside.config}:ro"]
        publish = ["-p", f"127.0.0.1:{places.port}:{_CONTAINER_PORT}", "--entrypoint", BINARY]
        command = [docker, "run", "--rm", "--name", name, *publish, *mounts, IMAGE, *flags]
        return Server(f"the image {IMAGE}", command, flags, [docker, "rm", "--force", name])
    if binary:
        flags = places.flags(batching)
        return Server(f"the binary {binary}", [binary, *flags], flags)
    raise UserError(
        f"no TensorFlow Serving to be had here: {trouble}, and {BINARY} is not on the PATH; install one of them, or run"
        " the suite against a server elsewhere by `make conformance ENDPOINT=host:port MODEL=name`"
    )


def _trouble_with_docker(docker: str | None) -> str:
    """Why docker cannot run the image; empty where it can."""
    if docker is None:
        return "docker is not on the PATH"
    if subprocess.run([docker, "info"], capture_output=True).returncode:
        return "docker is there, but its daemon does not answer"
    found = subprocess.run([docker, "image", "inspect", IMAGE], capture_output=True).returncode == 0
    if not found and subprocess.run([docker, "pull", IMAGE], capture_output=True).returncode:
        return f"docker cannot pull {IMAGE}"
    return ""


@contextlib.contextmanager
def running(server: Server, log: pathlib.Path, settings: Settings) -> Iterator[None]:
    """Runs a server, from when it answers to the end of the block.

    Raises:
      UserError: it ends by itself, or does not answer in time; the end of its log says why.
    """
    with log.open("w") as output:
        process = subprocess.Popen(server.command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait(process, log, settings)
            yield
        finally:
            if server.cleanup:
                subprocess.run(server.cleanup, capture_output=True)
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen, log: pathlib.Path, settings: Settings) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            Endpoint(settings).channel.close()
            return
        except grpc.RpcError:  # not there yet, or still loading
            time.sleep(0.2)
    state = "ended" if process.poll() is not None else f"did not answer for {_START_SECONDS:.0f} s"
    raise UserError(f"the server {state}; the end of its log:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance.stock_server",
        description="Run the conformance suite against TensorFlow Serving: its image by docker, or its binary.",
        epilog="What comes after -- goes to pytest, for example: python -m tests.conformance.stock_server -- -k k",
    )
    parser.add_argument(
        "--model_base_path",
        type=pathlib.Path,
        help="directory of versions (default: a small one is made)",
    )
    parser.add_argument("--categories", default="", help="some categories of its items, commas between")
    parser.add_argument("--batching", action="store_true", help="with --enable_batching")
    parser.add_argument("pytest", nargs="*", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str]) -> int:
    """Runs the suite and returns pytest's exit code."""
    flags = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="sparcode-conformance-") as name:
        scratch = pathlib.Path(name)
        places = Places((flags.model_base_path or scratch / "servable").absolute(), scratch, _free_port())
        server = find_server(places, flags.batching)
        categories = flags.categories
        if flags.model_base_path is None:
            from tests.conformance.servable import CATEGORIES, write_servable

            categories = CATEGORIES
            write_servable(scratch)
        (scratch / BATCHING_FILE).write_text(Batching().text())
        settings = Settings(
            f"127.0.0.1:{places.port}", MODEL, categories=categories, batching="1" if flags.batching else ""
        )
        print(f"conformance: {server.what}, flags {' '.join(server.flags)}", flush=True)
        with running(server, scratch / "server.log", settings):
            return run_suite(settings, flags.pytest)


def run_suite(settings: Settings, arguments: Sequence[str] = ()) -> int:
    """Runs the suite in a process of its own against an endpoint and returns its exit code."""
    suite = "tests/conformance"
    command = [sys.executable, "-m", "pytest", "--confcutdir", suite, suite, *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | settings.to_environment()).returncode


if __name__ == "__main__":
    run_cli(main)
