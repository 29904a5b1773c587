"""Versions of a served model that arrive while it answers, for benchmarks/soak.py."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

from protos.errors import UserError
from serving.client import AsyncRecommendClient, PredictError
from serving.loadtest.report import rss_mib

MODEL = "sparcode"
WARMUP = pathlib.Path("assets.extra", "tf_serving_warmup_requests")
_POLL_SECONDS = 0.5
_LOAD_SECONDS = 1800.0  # a machine may be busy, and only time is lost
_ROOT = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Deployments:
    """What arrives, and when.

    Attributes:
      servable: a version directory, whose copies are the versions.
      swaps: versions that take over, one after the other; a bad one comes in their middle.
      seconds: over which they arrive.
    """

    servable: pathlib.Path
    swaps: int
    seconds: float

    @property
    def bad(self) -> int:
        """The number of the bad version; the first one is 1."""
        return 2 + (self.swaps + 1) // 2

    @property
    def last(self) -> int:
        """The number of the last version."""
        return 2 + self.swaps


@dataclasses.dataclass
class Observed:
    """What was seen beside the requests.

    Attributes:
      rss_mib: the server's memory before each version arrived, and at the end.
      swaps: good versions that came to answer.
      bad_state: how the bad version stood when the next one came.
    """

    rss_mib: list[float | None] = dataclasses.field(default_factory=list)
    swaps: int = 0
    bad_state: str = ""


@contextlib.contextmanager
def server_process(base: pathlib.Path, work: pathlib.Path) -> Iterator[tuple[int, str]]:
    """A ready `python -m serving.server`: its process and its address. Its log is `work/server.log`."""
    port_file, log = work / "port", work / "server.log"
    flags = ["--model_base_path", base, "--model_name", MODEL, "--port", "0", "--port_file", port_file]
    flags += ["--file_system_poll_wait_seconds", _POLL_SECONDS]
    with log.open("w") as output:
        command = [sys.executable, "-m", "serving.server", *map(str, flags)]
        process = subprocess.Popen(command, cwd=_ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + _LOAD_SECONDS
        while not port_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise UserError(f"the server did not start; the end of its log:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield process.pid, f"127.0.0.1:{port_file.read_text().strip()}"
    finally:
        process.terminate()
        process.wait()


def publish(servable: pathlib.Path, base: pathlib.Path, version: int, bad: bool = False) -> None:
    """Copies a version under a new number, as a deployment does it: under another name first, then renamed.

    A bad one has a warmup file that is cut short: it is found out only when all else has been loaded.
    """
    copy = base / f"copying-{version}"
    shutil.copytree(servable, copy)
    if bad:
        os.truncate(copy / WARMUP, (copy / WARMUP).stat().st_size // 2)
    copy.rename(base / str(version))


async def deploy(plan: Deployments, base: pathlib.Path, client: AsyncRecommendClient, pid: int) -> Observed:
    """Lets the versions arrive, evenly over the time of the load, but none before that before it was dealt with."""
    observed, step = Observed(), plan.seconds / plan.last
    start = time.monotonic()
    for version in range(2, plan.last + 1):
        await asyncio.sleep(start + (version - 1) * step - time.monotonic())
        observed.rss_mib.append(rss_mib(pid))
        await asyncio.to_thread(publish, plan.servable, base, version, version == plan.bad)
        if version == plan.bad:
            observed.bad_state = await _settle(client, version, "END", step)
        else:
            observed.swaps += await _settle(client, version, "AVAILABLE", _LOAD_SECONDS) == "AVAILABLE"
    await asyncio.sleep(start + plan.seconds - time.monotonic())
    observed.rss_mib.append(rss_mib(pid))
    return observed


async def _settle(client: AsyncRecommendClient, version: int, wanted: str, seconds: float) -> str:
    """How a version stands as soon as that is `wanted`, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while (state := (await _states(client)).get(version, "not seen")) != wanted and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_SECONDS)
    return state


async def _states(client: AsyncRecommendClient) -> dict[int, str]:
    try:
        return {status.version: status.state for status in await client.status()}
    except PredictError:  # the load goes on, and counts what fails; a version that is never seen is a fault too
        return {}
