"""A Flink of a test's own: Beam's job server, which runs every job on a cluster of two task managers inside it.

Beam's servers listen on every network interface and cannot be told otherwise. So the job server, and what a test runs
beside it, live in a network of their own that has no interface but 127.0.0.1: nobody else reaches them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

JAR = pathlib.Path(__file__).parent.parent.parent / "build" / "flink" / "job-server.jar"
JOB_PORT = 8099
POOL_PORT = 50000
SECONDS_TO_START = 120  # on a busy machine
SECONDS_TO_STOP = 20

# A cluster inside the job server runs a job with as many parts as it has slots.
CONFIGURATION = """\
minicluster.number-of-taskmanagers: 2
taskmanager.numberOfTaskSlots: 1
"""
TOOLS = {"java": "openjdk-17-jre-headless", "unshare": "util-linux", "ip": "iproute2"}
OWN_NETWORK = ["unshare", "--map-root-user", "--net"]


@dataclasses.dataclass(frozen=True)
class JobServer:
    """A job server that is up.

    Attributes:
      pid: its process.
      log: what it and Flink say; grows.
    """

    pid: int
    log: pathlib.Path

    @property
    def address(self) -> str:
        """Host and port within its network, for --job_endpoint."""
        return f"127.0.0.1:{JOB_PORT}"

    def inside(self, command: Sequence[str]) -> list[str]:
        """The command that runs `command` in the network of the job server."""
        return ["nsenter", "--target", str(self.pid), "--user", "--preserve-credentials", "--net", *command]

    def said(self, pattern: str) -> list[str]:
        """All matches of a regular expression in the log so far, line by line."""
        return re.findall(pattern, self.log.read_text(), re.MULTILINE)


@functools.cache
def missing() -> str:
    """Why no Flink can run here; empty if one can."""
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            return f"no Flink: there is no {tool} (on Debian: apt-get install {package})"
    if not JAR.is_file():
        return f"no Flink: {JAR} is not there; `make flink` gets it, from Maven Central"
    if subprocess.run([*OWN_NETWORK, "true"], capture_output=True, check=False).returncode != 0:
        return f"no Flink: it may have no network of its own here ({' '.join(OWN_NETWORK)} fails)"
    return ""


@contextlib.contextmanager
def job_server(directory: pathlib.Path) -> Iterator[JobServer]:
    """Runs a job server while the block runs; its files go into `directory`, and it ends with the block."""
    (directory / "flink-conf.yaml").write_text(CONFIGURATION)
    with _running(_command(directory), directory / "flink.log", JOB_PORT, dict(os.environ)) as pid:
        yield JobServer(pid, directory / "flink.log")


@contextlib.contextmanager
def worker_pool(server: JobServer, log: pathlib.Path) -> Iterator[str]:
    """Runs Beam's pool of worker processes while the block runs; gives its address, for --environment_config."""
    command = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={POOL_PORT}"]
    # Its workers run the first `python` on the path.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    with _running(server.inside(command), log, POOL_PORT, os.environ | {"PATH": path}):
        yield f"127.0.0.1:{POOL_PORT}"


def _command(directory: pathlib.Path) -> list[str]:
    network = [*OWN_NETWORK, "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    # Should this process be killed, so that it cannot end the server, the kernel does.
    java = ["setpriv", "--pdeathsig", "KILL", "java", "-Xmx1g", f"-Djava.io.tmpdir={directory}", "-jar", str(JAR)]
    options = ["--job-port", str(JOB_PORT), "--expansion-port", "-1", "--flink-master", "[local]"]
    places = ["--artifacts-dir", str(directory / "artifacts"), "--flink-conf-dir", str(directory)]
    return [*network, *java, *options, *places]


@contextlib.contextmanager
def _running(command: list[str], log: pathlib.Path, port: int, env: dict[str, str]) -> Iterator[int]:
    """Runs a server, with all processes that it starts, while the block runs; gives its process id."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait_until_it_listens(process, port, log)
        yield process.pid
    finally:
        _end(process)


def _wait_until_it_listens(process: subprocess.Popen, port: int, log: pathlib.Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while not _listens(process.pid, port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"{process.args} does not listen on port {port}:\n{log.read_text()[-4000:]}")
        time.sleep(0.2)


def _listens(pid: int, port: int) -> bool:
    """Whether somebody listens on a port in the network of a process."""
    listening = re.compile(rf":{port:04X} [0-9A-F]+:0000 0A ")
    try:
        return any(listening.search(pathlib.Path(f"/proc/{pid}/net/{kind}").read_text()) for kind in ("tcp", "tcp6"))
    except OSError:  # it has ended
        return False


def _end(process: subprocess.Popen) -> None:
    """Ends a process and all that it started: its session is its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_STOP)
