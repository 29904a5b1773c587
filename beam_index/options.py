"""The command line of the build: its own options, checked, and Beam's, passed through."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from beam_index.files import MAX_SHARDS
from protos.beam.options import beam_options
from protos.command_line import CommandParser
from protos.errors import UserError
from protos.postings import SCORE_BITS

# Up to so many codes, `auto` scores all of them.
FEW_CODES = 16_384
# What --max_bytes chooses, where it is not given: the option and its flag.
_CHOSEN = {"postings_per_code": "--postings_per_code", "score_bits": "--score_bits", "block": "--no_block"}

_DESCRIPTION = """\
Scores codes x items with an exported scorer and writes an index: a posting list a code with its
best items, the ready lists that the export brings along, as they are, and a completion block with
every item's value for every code in 8 bits.
"""
_EPILOG = """\
Every other option goes to Apache Beam. By default the pipeline runs in this process, scoring on all cores;
  --direct_running_mode=multi_processing --direct_num_workers=2   runs it in two worker processes,
  --runner=FlinkRunner --flink_master=HOST:PORT                   on a cluster that shares the file system.
However the work is spread, the index is the same, byte for byte, on one kind of processor
(--num_shards only cuts the same lists into other files).

examples:
  python -m beam_index.build --model run/export --output index
  python -m beam_index.build --model run/export --output index --postings_per_code 300 --no_block
  python -m beam_index.build --model run/export --output index --no_block --max_postings 50000000 --candidates 4000
  python -m beam_index.build --model new/export --output index-2 --updatable --base_index index
  python -m beam_index.build --model run/export --output index --max_bytes 50000000
  python -m beam_index.build --model run/export --output index --dry_run

It is written under a temporary name and replaces an index at OUTPUT only when it is whole.
"""


@dataclasses.dataclass(frozen=True)
class BuildOptions:
    """The build's own options; see --help. `fixed` are those given that `max_bytes` would choose."""

    model: pathlib.Path
    output: pathlib.Path
    postings_per_code: int
    max_postings: int | None
    threshold: float | None
    score_bits: int
    codes: str
    queries: pathlib.Path
    block: bool
    candidates: int | None
    updatable: bool
    base_index: pathlib.Path | None
    num_shards: int
    quality_queries: int
    min_fidelity: float
    max_bad_share: float
    progress: bool
    max_bytes: int | None = None
    dry_run: bool = False
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, most in (
            *(("postings_per_code", 2**31 - 1), ("num_shards", MAX_SHARDS)),
            *(("max_postings", 2**62), ("candidates", 2**31 - 1), ("max_bytes", 2**62)),
        ):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise UserError(f"--{name} is {value:,}; expected 1 to {most:,}")
        if self.quality_queries < 0:
            raise UserError(f"--quality_queries is {self.quality_queries:,}; expected 0 (no measuring) or more")
        require_share(self.min_fidelity)
        if not 0 <= self.max_bad_share <= 1:
            raise UserError(f"--max_bad_share is {self.max_bad_share:g}; expected 0 (no bad record) to 1")
        if self.min_fidelity > 0 and not self.quality_queries:
            raise UserError(
                f"--min_fidelity {self.min_fidelity:g} needs --quality_queries above 0: nothing would be measured"
            )
        if self.candidates is not None and self.max_bytes is not None:
            raise UserError("--max_bytes cannot be combined with --candidates: it measures lists of all items")
        if self.candidates is not None:
            self._check_candidates(self.candidates)
        if self.max_bytes is not None:
            self._check_max_bytes(self.max_bytes)

    def _check_candidates(self, candidates: int) -> None:
        if self.block:
            raise UserError("--candidates scores few pairs, the completion block holds all: add --no_block")
        if self.updatable or self.base_index is not None:
            raise UserError("--candidates cannot be combined with --updatable or --base_index: all pairs must be known")
        if candidates <= self.postings_per_code:
            raise UserError(
                f"--candidates {candidates:,} must be more than --postings_per_code {self.postings_per_code:,}: lists"
                " are the best of them"
            )

    def _check_max_bytes(self, max_bytes: int) -> None:
        for name, why in (
            ("max_postings", "both set how long lists are"),
            ("base_index", "an update has the lists and the block of its base"),
        ):
            if getattr(self, name) is not None:
                raise UserError(f"--max_bytes cannot be combined with --{name}: {why}; leave one of them out")
        if not self.quality_queries:
            raise UserError(
                f"--max_bytes {max_bytes:,} needs --quality_queries above 0: it chooses by how they are answered"
            )


def require_share(min_fidelity: float) -> None:
    """Raises UserError unless it is a share."""
    if not 0 <= min_fidelity <= 1:
        raise UserError(f"--min_fidelity is {min_fidelity:g}; expected 0 (only report) to 1")


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m beam_index.build",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the exported model, run/export")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="directory of the index to write")
    parser.add_argument(
        "--postings_per_code",
        type=int,
        default=1000,
        metavar="L",
        help="most items of a code's list (default %(default)s); the score of the next best is taken off all of them",
    )
    parser.add_argument(
        "--max_postings",
        type=int,
        metavar="P",
        help="most postings of the index, ready lists counted: one threshold for all lists of codes makes them fit",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="S",
        help="a score that all items of all lists of codes must be above; it is taken off their scores",
    )
    parser.add_argument(
        "--score_bits",
        type=int,
        choices=SCORE_BITS,
        default=16,
        help="bits of a stored score: 8 or 16 are levels of each list's best score (default %(default)s)",
    )
    parser.add_argument(
        "--max_bytes",
        type=int,
        metavar="B",
        help="most bytes of lists and block together: what --postings_per_code, --score_bits and --no_block do not say"
        " is chosen by the accuracy over --quality_queries (by targets where there are any, else by exact scoring)",
    )
    parser.add_argument(
        "--candidates",
        type=int,
        metavar="R",
        help="score only R items a code, chosen by a cheap first pass over all (default: score all items); for"
        " large catalogues, R about four times L",
    )
    parser.add_argument(
        "--updatable", action="store_true", help="keep what --base_index needs of this index (8 bytes a posting)"
    )
    parser.add_argument(
        "--base_index",
        type=pathlib.Path,
        metavar="INDEX",
        help="an --updatable index of the same model, whose catalogue was another: only what has changed is scored",
    )
    parser.add_argument(
        "--codes",
        choices=("auto", "all", "observed"),
        default="auto",
        help="codes that get a list: all, or those observed over the queries; auto (default) is all while there"
        f" are at most {FEW_CODES:,}",
    )
    parser.add_argument(
        "--queries",
        type=pathlib.Path,
        metavar="FILE",
        help="parquet file with a column history (lists of item ids) and one for each feature that queries bring, for"
        " observed codes and for measuring the index (default: the export's)",
    )
    parser.add_argument(
        "--no_block", dest="block", action="store_false", help="no completion block: the servable's sums are sparse"
    )
    parser.add_argument(
        "--num_shards", type=int, default=1, metavar="N", help="files of posting lists (default %(default)s)"
    )
    parser.add_argument(
        "--quality_queries",
        type=int,
        default=512,
        metavar="N",
        help="most queries by which the index is measured before it replaces another (default %(default)s; 0: none):"
        " their codes are scored once more against all items; the index gets quality.json and quality.html",
    )
    parser.add_argument(
        "--min_fidelity",
        type=float,
        default=0.0,
        metavar="X",
        help="least overlap of the 50 best answers with those of exact scoring, 0 to 1: an index below it is not"
        " published (default: only report)",
    )
    parser.add_argument(
        "--max_bad_share",
        type=float,
        default=0.001,
        metavar="X",
        help="most bad records of a kind (items, ready lists, queries), 0 to 1 (default %(default)s): they are left out"
        " and named in the index's dead_letters.jsonl; of more, the build fails",
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show progress on standard error: a bar on a terminal, elsewhere a line now and then (default: yes)",
    )
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="check all of it, score a small sample, say how large the index would be and how long it would take, and"
        " do nothing",
    )
    return parser


def parse(argv: Sequence[str]) -> tuple[BuildOptions, PipelineOptions]:
    """Splits a command line into the build's options and Beam's.

    Raises:
      UserError: a value is out of range, or neither the build nor Beam knows an option.
    """
    parser = _parser()
    known, beam_flags = parser.parse_known_args(argv)
    if known.queries is None:
        known.queries = known.model / "queries.parquet"
    given = {flag.partition("=")[0] for flag in parser.spelt(argv)}
    fixed = tuple(name for name, flag in _CHOSEN.items() if flag in given)
    return BuildOptions(**vars(known), fixed=fixed), beam_options(beam_flags, [*vars(known), "no_block"], "the build")
