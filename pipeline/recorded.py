"""`python -m pipeline.recorded`: an export's queries as JSON, for gate and probe where there is no pyarrow."""

from __future__ import annotations

import argparse
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from protos.artifact import writing
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from serving.recorded import read_recorded


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m pipeline.recorded",
        description="Write an export's queries as JSON, an object a line, as serving.client, the gate and the probe"
        " take them.",
        epilog="example: python -m pipeline.recorded --queries run/export/queries.parquet --output queries.jsonl",
    )
    parser.add_argument("--queries", type=pathlib.Path, required=True, metavar="FILE", help="queries.parquet")
    parser.add_argument("--count", type=int, default=500, help="queries, spread over the file (default: %(default)s)")
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="FILE", help="JSON lines")
    return parser


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    flags = _parser().parse_args(argv)
    if flags.count < 1:
        raise UserError(f"--count {flags.count}: expected at least 1")
    queries = read_recorded(flags.queries, flags.count)
    lines = [
        json.dumps({"history": query.history, "features": plain(query.features)}, allow_nan=False) for query in queries
    ]
    with writing(flags.output):
        flags.output.write_text("".join(f"{line}\n" for line in lines))
    print(f"{flags.output}: {len(lines)} queries")


def plain(value: Any) -> Any:
    """A feature as JSON can say it: a missing number, nan, is null."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    run_cli(main)
