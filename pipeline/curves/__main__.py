"""`python -m pipeline.curves`: what accuracy costs in bytes, of one exported model as it is served."""

from __future__ import annotations

import argparse
import pathlib
import shlex
from collections.abc import Sequence

from pipeline.comparison.picture import require_matplotlib
from pipeline.curves import report
from pipeline.curves.measure import METRICS, Point, Size, points, require_export_of
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from protos.postings import SCORE_BITS
from trainer.data import load
from trainer.data.splits import split

_DESCRIPTION = """\
Builds indexes of one exported model with longer and shorter lists and more and fewer bits a score, serves each by
sparse, completed and rescored sums, asks it for every user of the split, and writes Recall@50 and NDCG@50 against
the bytes of the index: curves.md (tables, to read), curves.csv, curves.json and curves.png.
"""
_EPILOG = """\
example:
  python -m pipeline.curves --model run/export --data path/to/ml-latest-small --output build/curves

Choose an index on validation; --split test is for saying afterwards how good the chosen one is.
"""


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m pipeline.curves",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the exported model, run/export")
    parser.add_argument(
        "--data", required=True, help="what the model was trained on: a directory, a schema file, or 'synthetic'"
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="directory for the results")
    parser.add_argument(
        "--postings_per_code", default="30,100,300,1000", help="lengths of lists (default: %(default)s)"
    )
    parser.add_argument("--score_bits", default="8,16,32", help="bits of a stored score (default: %(default)s)")
    parser.add_argument(
        "--split", choices=("validation", "test"), default="validation", help="whose queries (default: %(default)s)"
    )
    parser.add_argument(
        "--data_split",
        default="chronological",
        help="how the data was split for training, data.split of its configuration (default: %(default)s)",
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Measures as the flags say."""
    arguments = _parser().parse_args(argv)
    sizes = _sizes(arguments)
    require_matplotlib()
    interactions = load(arguments.data)
    parts = split(interactions, arguments.data_split)
    require_export_of(arguments.model, parts)
    queries = parts.queries(arguments.split)
    about = f"{interactions.summary()}; {len(queries):,} {arguments.split} queries"
    print(about, flush=True)
    _make(arguments.output)
    command = f"python -m pipeline.curves {shlex.join(argv)}"
    found: list[Point] = []
    for number, size in enumerate(sizes, start=1):
        for point in points(arguments.model, parts, queries, size, arguments.output):
            scores = ", ".join(f"{metric} {point.mean(metric):.4f}" for metric in METRICS)
            print(f"[{number}/{len(sizes)}] {size}, {point.sums}: {point.index_bytes:,} bytes, {scores}", flush=True)
            found.append(point)
        tables = report.write(found, about, command, arguments.output)  # so that a stopped command leaves what it has
    print(f"\n{tables}\n\nall of it in {arguments.output / 'curves.md'}")


def _sizes(arguments: argparse.Namespace) -> list[Size]:
    """Every length with every number of bits."""
    lengths = _integers("--postings_per_code", arguments.postings_per_code, "integers of at least 1")
    bits = _integers("--score_bits", arguments.score_bits, f"some of {', '.join(map(str, SCORE_BITS))}", SCORE_BITS)
    return [Size(length, each) for length in lengths for each in bits]


def _integers(flag: str, text: str, expected: str, allowed: Sequence[int] | None = None) -> list[int]:
    """The different numbers of a list with commas, ascending."""
    parts = [part.strip() for part in text.split(",")]
    numbers = [int(part) for part in parts if part.isascii() and part.isdecimal()]
    sound = len(numbers) == len(parts) and all(n in allowed if allowed else n >= 1 for n in numbers)
    if not sound:
        raise UserError(f"{flag} {text!r}: expected {expected}, with commas between")
    return sorted(set(numbers))


def _make(output: pathlib.Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {output} cannot be made: {error.strerror}; give another directory") from error


if __name__ == "__main__":
    run_cli(main)
