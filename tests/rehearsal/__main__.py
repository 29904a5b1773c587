"""`make rehearse`: k8s/README.md followed on this machine, with users who send requests all the while.

Exit code 0: no request failed, and everything was seen as it should be; 1: not so; build/rehearsal.json says what.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence

import pytest

import trainer  # noqa: F401  # before TensorFlow, which the versions are made with
from protos.errors import UserError, run_cli
from tests.k8s.tools import K8S, kustomize
from tests.rehearsal.chapters import Shell
from tests.rehearsal.cluster import Cluster, RolloutFailed
from tests.rehearsal.pace import Pace
from tests.rehearsal.script import Script, WentWrong
from tests.rehearsal.traffic import Traffic
from tests.rehearsal.versions import DAMAGED, GOOD, NEXT, OTHER, damage, publish_tiny, publish_trained

# Pods share this machine's few cores with their users: times are a hint here, not a service's. What is compared is
# whether the gate passes a good version and refuses a bad one.
GATE_FLAGS = ["--min_requests=300", "--max_requests=2400", "--max_p99_ms=2000", "--max_p99_ratio=5"]
_SHOWN_LOG = 8000


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.rehearsal",
        description="Follow k8s/README.md on this machine: deploy, probe, canary, gate, promote, roll back, lose a pod,"
        " and versions that must never answer, while a client sends requests all the while.",
    )
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path("build/rehearsal.json"), help="(default: %(default)s)"
    )
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second (default: %(default)s)")
    parser.add_argument("--pods", type=int, default=2, help="of a Deployment, at most (default: %(default)s)")
    parser.add_argument(
        "--pace",
        type=float,
        default=0.3,
        help="what periods and graces of the manifests, and the client's waiting for names, are multiplied by; 1: as"
        " in a cluster (default: %(default)s)",
    )
    return parser


def network() -> str:
    """Addresses of 127.0.0.0/8 for this process alone."""
    return f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"


def publish(directory: pathlib.Path) -> pathlib.Path:
    """Every version that is rehearsed, under the directory it returns; `directory/run` is where they come from."""
    published = directory / "published"
    publish_trained(published, directory / "run")
    for version in (DAMAGED, OTHER):
        publish_tiny(published, version, directory / "scratch", seed=version)
    damage(published, DAMAGED)
    return published


@contextlib.contextmanager
def stage(directory: pathlib.Path, published: pathlib.Path, rate: float, pace: Pace, pods: int):
    """A Script on a cluster of its own, in a directory that has `run/export`."""
    shutil.copytree(K8S, directory / "k8s")
    claims = {"sparcode-published": published}
    with Cluster(directory / "pods", network(), claims, pace, pods) as cluster:
        shell = Shell(cluster, directory, GATE_FLAGS)
        traffic = Traffic(cluster.target("sparcode"), directory / "run" / "export", rate, pace)
        script = Script(cluster, shell, traffic, (K8S / "README.md").read_text())
        yield script


def rehearse(script: Script) -> None:
    """All of it."""
    with contextlib.ExitStack() as users:
        script.start(users)
        script.probe()
        script.lose_a_pod({GOOD})
        script.keep()
        script.damaged_canary()
        script.refuse(OTHER)
        script.canary(NEXT)
        script.gate(NEXT, passes=True)
        script.promote()
        script.damaged_promoted()
        script.roll_back()
        script.drain(GOOD)


def main(argv: Sequence[str]) -> int:
    """Rehearses and returns 1 where something was seen that must not be."""
    flags = _parser().parse_args(argv)
    _require_kustomize()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and end the pods
    start, error = time.monotonic(), None
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as scratch:
        directory = pathlib.Path(scratch)
        print("== versions", flush=True)
        published = publish(directory)
        making = round(time.monotonic() - start, 1)
        with stage(directory, published, flags.rate, Pace(flags.pace), flags.pods) as script:
            try:
                rehearse(script)
            except (WentWrong, RolloutFailed) as found:
                error = str(found)
                print(script.log()[-_SHOWN_LOG:])
            seconds = round(time.monotonic() - start, 1)
            count = script.write(flags.output, seconds=seconds, versions_seconds=making, pace=flags.pace, error=error)
    print(f"{count.requests} requests, {count.failed} failed; {seconds} s; {flags.output}")
    if error:
        print(f"went wrong: {error}")
    return 1 if error or count.failed else 0


def _require_kustomize() -> None:
    try:
        kustomize()
    except pytest.skip.Exception as error:
        raise UserError(str(error)) from error


if __name__ == "__main__":
    run_cli(main)
