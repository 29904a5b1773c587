"""`python -m benchmarks.soak`: load without a break while versions are swapped and a bad one arrives.

The embedded server runs as a process of its own. Nothing may fail, memory must not grow, and the bad version
must never answer.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import pathlib
import shutil
import tempfile
from collections.abc import Sequence

from benchmarks.deployments import MODEL, WARMUP, Deployments, Observed, deploy, publish, server_process
from benchmarks.processes import in_process
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from serving.client import AsyncRecommendClient
from serving.loadtest.mix import Mix, Users, draw, read_users
from serving.loadtest.open_loop import Outcome, arrivals, run
from serving.loadtest.report import Report, report

_TIMEOUT_SECONDS = 30.0
_CATEGORY_COLUMN = "genres"


@dataclasses.dataclass(frozen=True)
class Load:
    """What is asked meanwhile.

    Attributes:
      users: who ask.
      rate: requests a second.
      mix: of the requests.
    """

    users: Users
    rate: float
    mix: Mix


async def _load_and_deploy(
    load: Load, plan: Deployments, base: pathlib.Path, server: tuple[int, str]
) -> tuple[Outcome, Observed]:
    pid, address = server
    async with AsyncRecommendClient(address, MODEL, _TIMEOUT_SECONDS) as client:
        deployment = asyncio.create_task(deploy(plan, base, client, pid))
        due = itertools.takewhile(lambda _: not deployment.done(), arrivals(load.rate, float("inf"), load.mix.seed))
        return await run(client, draw(load.users, load.mix), due), await deployment


def soak(load: Load, plan: Deployments, work: pathlib.Path) -> tuple[Report, Observed]:
    """Runs the server, the load and the deployments in `work`, a new directory.

    Raises:
      UserError: the server did not start.
    """
    base = work / "versions"
    base.mkdir(parents=True)
    publish(plan.servable, base, 1)
    with server_process(base, work) as server:
        outcome, observed = asyncio.run(_load_and_deploy(load, plan, base, server))
    found = report(outcome, (observed.rss_mib[0], observed.rss_mib[-1]))
    return dataclasses.replace(found, swaps=observed.swaps), observed


def faults(plan: Deployments, found: Report, observed: Observed) -> list[str]:
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
    parser = CommandParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        epilog="example: python -m benchmarks.soak --minutes 10 --rate 50 --json soak.json",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of load (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second (default: %(default)s)")
    parser.add_argument("--swaps", type=int, default=5, help="versions that take over (default: %(default)s)")
    parser.add_argument(
        "--servable", type=pathlib.Path, help="a version directory (default: one made of generated data)"
    )
    parser.add_argument("--export", type=pathlib.Path, help="the exported model that --servable was made of")
    parser.add_argument("--filtered_share", type=float, default=Mix.filtered_share, help="(default: %(default)s)")
    parser.add_argument("--work", type=pathlib.Path, help="directory that keeps the servable, and the server's log")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the figures go too")
    return parser


def main(argv: Sequence[str]) -> int:
    """Soaks, prints the figures, and returns 1 if anything was not as it should be."""
    flags = _parser().parse_args(argv)
    if (flags.servable is None) != (flags.export is None):
        raise UserError("--servable and --export go together: the queries of the export are asked")
    with tempfile.TemporaryDirectory() as scratch:
        work = flags.work or pathlib.Path(scratch)
        servable, export = flags.servable, flags.export
        if servable is None:
            servable, export = in_process(_trained_servable, work)
        if not (servable / WARMUP).exists():
            raise UserError(f"{servable / WARMUP} is not there; expected a version directory written by serving.export")
        load = Load(read_users(export, _CATEGORY_COLUMN), flags.rate, Mix(filtered_share=flags.filtered_share))
        plan = Deployments(servable, flags.swaps, flags.minutes * 60)
        shutil.rmtree(work / "soak", ignore_errors=True)
        found, observed = soak(load, plan, work / "soak")
    print(found)
    print(f"{observed.swaps} swaps; the bad version was {observed.bad_state}; memory {observed.rss_mib}")
    if flags.json:
        found.write(flags.json, bad_version=observed.bad_state, rss_mib=observed.rss_mib, rate=load.rate)
    wrong = faults(plan, found, observed)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    run_cli(main)
