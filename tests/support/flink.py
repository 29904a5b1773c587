"""A Flink of a test's own: Beam's job server, which runs every job on a cluster of two task managers inside it."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

JAR = pathlib.Path(__file__).parent.parent.parent / "build" / "flink" / "job-server.jar"
LOOPBACK = "127.0.0.1"
SECONDS_TO_START = 60
SECONDS_TO_STOP = 20

# A cluster inside the job server runs a job with as many parts as it has slots. Nothing listens to the outside.
CONFIGURATION = f"""\
minicluster.number-of-taskmanagers: 2
taskmanager.numberOfTaskSlots: 1
jobmanager.bind-host: {LOOPBACK}
taskmanager.bind-host: {LOOPBACK}
taskmanager.host: {LOOPBACK}
rest.address: {LOOPBACK}
rest.bind-address: {LOOPBACK}
"""


@dataclasses.dataclass(frozen=True)
class JobServer:
    """A job server that is up.

    Attributes:
      address: host and port, for --job_endpoint.
      log: what it and Flink say; grows.
    """

    address: str
    log: pathlib.Path

    def said(self, pattern: str) -> list[str]:
        """All matches of a regular expression in the log so far, line by line."""
        return re.findall(pattern, self.log.read_text(), re.MULTILINE)


def missing() -> str | None:
    """Why no Flink can run here, or None if one can."""
    if shutil.which("java") is None:
        return "no Flink: there is no java (on Debian: apt-get install openjdk-17-jre-headless)"
    if not JAR.is_file():
        return f"no Flink: {JAR} is not there; `make flink` gets it, from Maven Central"
    return None


@contextlib.contextmanager
def job_server(directory: pathlib.Path) -> Iterator[JobServer]:
    """Runs a job server while the block runs; its files go into `directory`, and it ends with the block."""
    (directory / "flink-conf.yaml").write_text(CONFIGURATION)
    log = directory / "flink.log"
    address = f"{LOOPBACK}:{_free_port()}"
    with log.open("wb") as output:
        process = subprocess.Popen(_command(directory, address), stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_up(process, log)
        yield JobServer(address, log)
    finally:
        _end(process)


def _command(directory: pathlib.Path, address: str) -> list[str]:
    host, _, port = address.partition(":")
    java = ["java", "-Xmx1g", f"-Djava.io.tmpdir={directory}", "-jar", str(JAR)]
    ports = ["--job-host", host, "--job-port", port, "--artifact-port", str(_free_port()), "--expansion-port", "-1"]
    places = ["--artifacts-dir", str(directory / "artifacts"), "--flink-conf-dir", str(directory)]
    return [*java, *ports, *places, "--flink-master", "[local]"]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        return found.getsockname()[1]


def _wait_until_up(process: subprocess.Popen, log: pathlib.Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while "Job server now running" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the Flink job server did not start:\n{log.read_text()[-4000:]}")
        time.sleep(0.2)


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
