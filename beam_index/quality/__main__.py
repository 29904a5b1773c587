"""`python -m beam_index.quality`: measures an index that is there."""

from __future__ import annotations

import argparse
import logging
import pathlib
from collections.abc import Sequence

from beam_index.options import require_share
from beam_index.pair import open_pair, pair_parser
from beam_index.quality import CheckOptions, check, require_fidelity, write_report
from beam_index.saved_model import one_thread_per_op
from protos.errors import UserError, run_cli

_DESCRIPTION = """\
Answers a sample of queries from an index as the servable would, and by exact scoring of the whole catalogue, and says
how much of the exact answers the index keeps. Writes quality.json and quality.html.
"""
_EPILOG = """\
Fidelity is the mean overlap at the largest K of the sums a servable uses by default: completed if the index has a
block, else sparse. The codes of the sample are scored against all items again, so this takes as long as that part of a
build; fewer --quality_queries make it shorter.

exit codes: 0 done; 2 the fidelity is below --min_fidelity, or an input will not do

example:
  python -m beam_index.quality --model run/export --index index --min_fidelity 0.95
"""


def _parser() -> argparse.ArgumentParser:
    parser = pair_parser("python -m beam_index.quality", _DESCRIPTION, _EPILOG)
    parser.add_argument(
        "--queries",
        type=pathlib.Path,
        metavar="FILE",
        help="parquet file with a column history, one for each feature that queries bring, and, for real targets,"
        " relevant (default: the export's)",
    )
    parser.add_argument(
        "--output", type=pathlib.Path, default=".", metavar="DIR", help="where the report goes (default: here)"
    )
    parser.add_argument(
        "--min_fidelity", type=float, default=0.0, metavar="X", help="least fidelity, 0 to 1 (default: only report)"
    )
    parser.add_argument(
        "--quality_queries", type=int, default=512, metavar="N", help="most queries of the sample (default %(default)s)"
    )
    parser.add_argument(
        "--k", type=int, nargs="+", default=[50, 10], help="how many answers to compare (default: 50 and 10)"
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Measures, writes the report, prints a summary, and then holds the fidelity against what was asked."""
    arguments = _parser().parse_args(argv)
    require_share(arguments.min_fidelity)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    one_thread_per_op()
    queries = arguments.queries or arguments.model / "queries.parquet"
    options = CheckOptions(queries, arguments.quality_queries, tuple(arguments.k))
    open_pair(arguments.model, arguments.index)
    _make(arguments.output)
    quality = check(arguments.model, arguments.index, options)
    write_report(quality, arguments.output)
    print(quality)
    require_fidelity(quality, arguments.min_fidelity)


def _make(output: pathlib.Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {output} cannot be made: {error.strerror}; give another directory") from error


if __name__ == "__main__":
    run_cli(main)
