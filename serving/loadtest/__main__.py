"""`python -m serving.loadtest`: how a server answers when users come as they please."""

from __future__ import annotations

import argparse
import asyncio
import pathlib
from collections.abc import Iterator, Sequence

from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from serving.client import AsyncRecommendClient, PredictError, Query
from serving.client.flags import Connection, add_connection_flags, connection
from serving.loadtest.mix import Mix, draw, read_users
from serving.loadtest.open_loop import arrivals, run
from serving.loadtest.report import Report, report, rss_mib


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m serving.loadtest",
        description=(
            "Send a served SparCode model requests at a rate, whether or not it has answered those before (an open"
            " loop), and say how long they took from when they were due. Works on python -m serving.server and on the"
            " stock tensorflow/serving image."
        ),
        epilog="example: python -m serving.loadtest --export run/export --rate 100 --seconds 60",
    )
    add_connection_flags(parser)
    parser.add_argument("--export", type=pathlib.Path, required=True, help="exported model, whose queries are asked")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long (default: %(default)s)")
    parser.add_argument(
        "--batch_sizes",
        type=_batch_sizes,
        default=Mix().batch_sizes,
        metavar="SIZE:SHARE,...",
        help="queries a request, and how often that many (default: 1:0.9,8:0.08,32:0.02)",
    )
    parser.add_argument(
        "--filtered_share",
        type=float,
        default=Mix.filtered_share,
        metavar="SHARE",
        help="of the queries, with k, exclusions and categories; 0 asks serving_default alone (default: %(default)s)",
    )
    parser.add_argument("--category_column", default="genres", help="of the export's items (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the requests and arrivals (default: %(default)s)")
    parser.add_argument("--server_pid", type=int, metavar="PID", help="process of the server, to measure its memory")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the figures go too")
    return parser


def _batch_sizes(text: str) -> dict[int, float]:
    try:
        sizes = {int(size): float(share) for size, share in (part.split(":") for part in text.split(","))}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected sizes and shares, such as 1:0.9,8:0.1") from error
    if min(sizes) < 1 or min(sizes.values()) < 0 or not sum(sizes.values()):
        raise argparse.ArgumentTypeError(f"{text!r}: sizes are at least 1, shares at least 0, and not all 0")
    return sizes


async def _measure(where: Connection, requests: Iterator[list[Query]], flags: argparse.Namespace) -> Report:
    async with AsyncRecommendClient(*where) as client:
        await client.wait_until_ready(where.timeout)
        before = rss_mib(flags.server_pid)
        outcome = await run(client, requests, arrivals(flags.rate, flags.seconds, flags.seed))
        return report(outcome, (before, rss_mib(flags.server_pid)))


def main(argv: Sequence[str]) -> int:
    """Measures and prints; 1 if a request failed."""
    flags = _parser().parse_args(argv)
    for name in ("rate", "seconds"):
        if getattr(flags, name) <= 0:
            raise UserError(f"--{name} {getattr(flags, name)}: expected more than 0")
    mix = Mix(flags.batch_sizes, flags.filtered_share, seed=flags.seed)
    requests = draw(read_users(flags.export, flags.category_column), mix)
    try:
        found = asyncio.run(_measure(connection(flags), requests, flags))
    except PredictError as error:
        raise UserError(str(error)) from error
    print(found)
    if flags.json:
        found.write(flags.json)
    return 1 if found.failed else 0


if __name__ == "__main__":
    run_cli(main)
