"""`python -m benchmarks.soak`: load without a break while versions are swapped and a bad one arrives.

The embedded server runs as a process of its own. Nothing may fail, memory must not grow, and the bad version
must never answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import multiprocessing
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from protos.errors import UserError, run_cli
from serving.client import AsyncRecommendClient
from serving.loadtest.mix import Mix, draw, read_users
from serving.loadtest.open_loop import Outcome, arrivals, run
from serving.loadtest.report import Report, report, rss_mib

_MODEL = "sparcode"
_POLL_SECONDS = 0.5
_LOAD_SECONDS = 300.0
_TIMEOUT_SECONDS = 30.0
_ROOT = pathlib.Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Plan:
    """A soak.

    Attributes:
      servable: a version directory, whose copies are the versions.
      export: the model it was made of, whose queries are asked.
      seconds: of the load, at least: it ends when all versions have had their turn.
      rate: requests a second.
      swaps: versions that take over, one after the other; a bad one comes in their middle.
      mix: of the requests.
      category_column: of the export's items.
    """

    servable: pathlib.Path
    export: pathlib.Path
    seconds: float = 600.0
    rate: float = 50.0
    swaps: int = 5
    mix: Mix = dataclasses.field(default_factory=Mix)
    category_column: str = "genres"

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
    flags = ["--model_base_path", base, "--model_name", _MODEL, "--port", "0", "--port_file", port_file]
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
        warmup = copy / "assets.extra" / "tf_serving_warmup_requests"
        os.truncate(warmup, warmup.stat().st_size // 2)
    copy.rename(base / str(version))


async def deploy(plan: Plan, base: pathlib.Path, client: AsyncRecommendClient, pid: int) -> Observed:
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
    return {status.version: status.state for status in await client.status()}


async def _load_and_deploy(plan: Plan, base: pathlib.Path, pid: int, address: str) -> tuple[Outcome, Observed]:
    requests = draw(read_users(plan.export, plan.category_column), plan.mix)
    async with AsyncRecommendClient(address, _MODEL, _TIMEOUT_SECONDS) as client:
        deployment = asyncio.create_task(deploy(plan, base, client, pid))
        due = itertools.takewhile(lambda _: not deployment.done(), arrivals(plan.rate, float("inf"), plan.mix.seed))
        return await run(client, requests, due), await deployment


def soak(plan: Plan, work: pathlib.Path) -> tuple[Report, Observed]:
    """Runs the server, the load and the deployments in `work`, an empty directory."""
    base = work / "versions"
    base.mkdir()
    publish(plan.servable, base, 1)
    with server_process(base, work) as (pid, address):
        outcome, observed = asyncio.run(_load_and_deploy(plan, base, pid, address))
    found = report(outcome, (observed.rss_mib[0], observed.rss_mib[-1]))
    return dataclasses.replace(found, swaps=observed.swaps), observed


def faults(plan: Plan, found: Report, observed: Observed) -> list[str]:
    """What should not have been."""
    return [
        *([f"{found.failed} requests failed: {dict(found.failures)}"] if found.failed else []),
        *([f"{observed.swaps} versions took over, not {plan.swaps}"] if observed.swaps != plan.swaps else []),
        *([f"the bad version {plan.bad} answered"] if plan.bad in found.versions else []),
        *([f"the bad version was {observed.bad_state}"] if observed.bad_state in ("AVAILABLE", "not seen") else []),
    ]


def _trained_servable(work: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """A servable of generated data, and its export."""
    from benchmarks.exports import trained_export
    from pipeline.steps import build_index, export_servable

    export = trained_export(work / "run", num_items=2000, num_codes=256)
    if not (work / "servable" / "1").exists():
        build_index(export, work / "index")
        export_servable(export, work / "index", work / "servable", "completed")
    return work / "servable" / "1", export


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of load (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="requests a second (default: %(default)s)")
    parser.add_argument("--swaps", type=int, default=Plan.swaps, help="versions that take over (default: %(default)s)")
    parser.add_argument(
        "--servable", type=pathlib.Path, help="a version directory (default: one made of generated data)"
    )
    parser.add_argument("--export", type=pathlib.Path, help="the exported model that --servable was made of")
    parser.add_argument("--filtered_share", type=float, default=Mix.filtered_share, help="(default: %(default)s)")
    parser.add_argument("--work", type=pathlib.Path, help="directory that keeps the servable made (default: none)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the figures go too")
    return parser


def main(argv: Sequence[str]) -> int:
    """Soaks, prints the figures, and returns 1 if anything was not as it should be."""
    flags = _parser().parse_args(argv)
    if (flags.servable is None) != (flags.export is None):
        raise UserError("--servable and --export go together: the queries of the export are asked")
    with tempfile.TemporaryDirectory() as scratch:
        servable, export = flags.servable, flags.export
        if servable is None:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
                made = process.submit(_trained_servable, flags.work or pathlib.Path(scratch) / "made")
                servable, export = made.result()
        mix = Mix(filtered_share=flags.filtered_share)
        plan = Plan(servable, export, flags.minutes * 60, flags.rate, flags.swaps, mix)
        work = pathlib.Path(scratch) / "soak"
        work.mkdir()
        found, observed = soak(plan, work)
    print(found)
    print(f"{observed.swaps} swaps; the bad version was {observed.bad_state}; memory {observed.rss_mib}")
    if flags.json:
        found.write(flags.json, bad_version=observed.bad_state, rss_mib=observed.rss_mib, rate=plan.rate)
    wrong = faults(plan, found, observed)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    run_cli(main)
