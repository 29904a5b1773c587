"""A process among those that train together: its task, as TF_CONFIG says, and its end when another one is lost."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import sys
import time
from typing import Any, NoReturn

import tensorflow as tf

from protos.errors import Exit, UserError

VARIABLE = "TF_CONFIG"
_EXAMPLE = '{"cluster": {"worker": ["host-0:2222", "host-1:2222"]}, "task": {"type": "worker", "index": 0}}'

_PROBES = 5  # seconds that a coordinator does not answer before it is taken to have ended

# What TensorFlow raises where a process can no longer be reached.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


@dataclasses.dataclass(frozen=True)
class Task:
    """What this process is.

    Attributes:
      job: its kind, a key of the cluster.
      index: its number among those of its kind.
      cluster: addresses of each kind.
    """

    job: str
    index: int
    cluster: dict[str, list[str]]

    @property
    def num_workers(self) -> int:
        """Processes that train."""
        return len(self.cluster.get("worker", ())) + len(self.cluster.get("chief", ()))

    @property
    def is_chief(self) -> bool:
        """Whether it is the one that writes: the chief, or the first worker where none is named."""
        return self.job == "chief" or ("chief" not in self.cluster and self.job == "worker" and self.index == 0)

    def __str__(self) -> str:
        """Its name and address."""
        return f"{self.job} {self.index} at {self.cluster[self.job][self.index]}"


def read_task(jobs: tuple[str, ...], needed: tuple[str, ...] = ()) -> Task:
    """The task that TF_CONFIG gives this process.

    Args:
      jobs: kinds of processes that the strategy has.
      needed: those of which there must be one at least.

    Raises:
      UserError: the variable is missing, no JSON, or does not say what is needed.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        raise UserError(f"{VARIABLE} is not set; every process needs its own in the environment, such as {_EXAMPLE}")
    try:
        return _task(json.loads(text), jobs, needed)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise UserError(f"{VARIABLE} is {text[:300]!r}: {error!r}; expected such as {_EXAMPLE}") from error


def _task(values: dict[str, Any], jobs: tuple[str, ...], needed: tuple[str, ...]) -> Task:
    cluster = {job: _addresses(job, found) for job, found in values["cluster"].items()}
    task = Task(values["task"]["type"], int(values["task"]["index"]), cluster)
    if strangers := {*cluster, task.job} - set(jobs):
        raise ValueError(f"{', '.join(sorted(strangers))} has no part in this strategy, only {', '.join(jobs)}")
    if missing := [job for job in needed if not cluster.get(job)]:
        raise ValueError(f"the cluster has no {' and no '.join(missing)}")
    if len(cluster.get("chief", ())) > 1:
        raise ValueError("the cluster has several chiefs")
    everybody = [address for addresses in cluster.values() for address in addresses]
    if twice := {address for address in everybody if everybody.count(address) > 1}:
        raise ValueError(f"several processes are at {', '.join(sorted(twice))}")
    if not 0 <= task.index < len(cluster.get(task.job, ())):
        raise IndexError(f"there is no {task.job} {task.index}, the cluster has {len(cluster.get(task.job, ()))}")
    return task


def _addresses(job: str, found: Any) -> list[str]:
    """Of a job; text, which is iterable too, is no list of them."""
    if not isinstance(found, list) or not all(re.fullmatch(r".+:\d+", str(address)) for address in found):
        raise ValueError(f"{job} is {found!r}, and no list of HOST:PORT")
    return found


def serve(task: Task) -> NoReturn:
    """Does what a coordinator asks of a worker or a parameter server, and ends when the coordinator has ended."""
    server = tf.distribute.Server(tf.train.ClusterSpec(task.cluster), task.job, task.index, "grpc", start=True)
    print(f"{task}: serving at {server.target}", flush=True)
    host, port = task.cluster["chief"][0].rsplit(":", 1)
    seen, missed = False, 0
    try:
        while missed < _PROBES:
            # At once: one that joins again may see no more of its coordinator than this.
            there = _answers(host, int(port))
            seen, missed = seen or there, missed + 1 if seen and not there else 0
            time.sleep(1)
    except SystemExit as end:  # by a signal
        end_at_once(end.code)
    print(f"{task}: the coordinator has ended", flush=True)
    end_at_once(Exit.DONE)


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except OSError:
        return False


def give_up(error: Exception) -> NoReturn:
    """Says that another process is lost, and ends this one with exit code 75."""
    cause = re.sub(r"{{.*?}} ?", "", str(getattr(error, "message", error))).strip().splitlines()[0][:200]
    print(
        f"error: another process of this run is lost ({cause}). Start all processes again with the same command:"
        " the run goes on from its last checkpoint",
        file=sys.stderr,
    )
    end_at_once(Exit.START_AGAIN)


def end_at_once(code: int) -> NoReturn:
    """Ends this process: threads of TensorFlow wait for other processes, and Python's own end would wait for them."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code))
