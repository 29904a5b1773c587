"""Processes that train together, on ports of 127.0.0.1."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def start(command: list[str], log: pathlib.Path, task: dict | None = None) -> subprocess.Popen:
    """`python -m COMMAND` as this task of TF_CONFIG; what it says is in `log`."""
    environment = os.environ | ({} if task is None else {"TF_CONFIG": json.dumps(task)})
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )


class Processes(dict[str, list[subprocess.Popen]]):
    """Processes by job, each in the order of its tasks.

    Attributes:
      tasks: what TF_CONFIG says to each.
    """

    tasks: dict[str, list[dict]]


@contextlib.contextmanager
def cluster(command: list[str], logs: pathlib.Path, **counts: int) -> Iterator[Processes]:
    """So many processes of each job (`worker=2`), all of one command; killed in the end if they are still there."""
    logs.mkdir(parents=True, exist_ok=True)
    ports = iter(free_ports(sum(counts.values())))
    addresses = {job: [f"127.0.0.1:{next(ports)}" for _ in range(count)] for job, count in counts.items()}
    processes = Processes({job: [] for job in counts})
    processes.tasks = {
        job: [{"cluster": addresses, "task": {"type": job, "index": index}} for index in range(count)]
        for job, count in counts.items()
    }
    try:
        for job, tasks in processes.tasks.items():
            for index, task in enumerate(tasks):
                processes[job].append(start(command, logs / f"{job}-{index}.log", task))
        yield processes
    finally:
        for process in (each for group in processes.values() for each in group):
            process.kill()
            process.wait()
