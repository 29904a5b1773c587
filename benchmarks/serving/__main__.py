"""`python -m benchmarks.serving`: SparCode's servable beside a two-tower model with each usual index, at every size."""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks.processes import in_process
from benchmarks.serving.peers import PEERS
from benchmarks.serving.prepare import measured, prepare, skipped
from benchmarks.serving.report import draw, ops_table, table
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli

# What the largest step of making a world holds, and what is left for the systems, in bytes an item.
_BYTES_AN_ITEM = 2000


def main(argv: Sequence[str]) -> None:
    """Measures every size, prints tables, and writes figures and a picture where asked."""
    arguments = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        rows = _measured(arguments, arguments.work or pathlib.Path(scratch))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    if arguments.output and rows:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "serving.md").write_text(table(rows) + "\n")
        draw(rows, arguments.output / "serving.svg")


def _measured(arguments: argparse.Namespace, work: pathlib.Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for num_items in arguments.items:
        if (lacking := _lacking_memory(num_items)) is not None:
            print(f"{num_items:,} items: skipped, {lacking}", flush=True)
            continue
        left_out = skipped(num_items, arguments.graph_items)
        for name, reason in left_out.items():
            print(f"{num_items:,} items: {name} skipped, {reason}", flush=True)
        peers = [name for name in arguments.peers if name not in left_out]
        world = work / str(num_items)
        sums = prepare(world, num_items, arguments.postings_per_code, peers)
        if not arguments.prepare:
            found, spent = in_process(measured, world, sums, peers, arguments.rounds, arguments.singles)
            rows += found
            print(table(found), ops_table(spent), sep="\n\n", flush=True)
    return rows


def _lacking_memory(num_items: int) -> str | None:
    """Why a size cannot be measured here; None if it can."""
    lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    needed = num_items * _BYTES_AN_ITEM
    if needed <= available:
        return None
    return f"it takes {needed / 2**30:.0f} GiB of memory, {available / 2**30:.0f} GiB are free"


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--items is {text!r}; expected numbers with commas between: 10000,100000") from error


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m benchmarks.serving",
        description="Measures SparCode's servable, loaded as TensorFlow Serving loads it, beside a two-tower model with"
        " the same encoder and hnswlib, Faiss, ScaNN or brute force: recall, latency at batch 1, throughput of one core"
        " at batch 32.",
        epilog="example: python -m benchmarks.serving --items 10000,100000 --json figures.json --output build/serving",
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the figures go too")
    parser.add_argument("--output", type=pathlib.Path, metavar="DIR", help="where the table and the picture go")
    parser.add_argument(
        "--items", type=_sizes, default="10000,100000,1000000,10000000", help="sizes (default %(default)s)"
    )
    parser.add_argument("--work", type=pathlib.Path, metavar="DIR", help="keeps worlds between runs (default: none)")
    parser.add_argument("--prepare", action="store_true", help="only make the worlds in --work")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="default: all")
    parser.add_argument("--postings_per_code", type=int, default=500, help="of the index (default %(default)s)")
    parser.add_argument("--graph_items", type=int, default=1_000_000, help="largest size with graphs (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="medians of so many are taken (default %(default)s)")
    parser.add_argument("--singles", type=int, default=200, help="single queries a round (default %(default)s)")
    return parser


if __name__ == "__main__":
    run_cli(main)
