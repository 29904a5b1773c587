"""`python -m trainer.report`: a finished run in, one page on it out."""

from __future__ import annotations

import argparse
import json
import pathlib
import shlex
from collections.abc import Callable, Iterator, Sequence

from protos.artifact import write_whole, writing
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from protos.progress import bar
from trainer.data.sources import DATA_HELP
from trainer.report.accuracy import accuracy_section
from trainer.report.answers import answer
from trainer.report.codes import codes_section
from trainer.report.curves import curves_section
from trainer.report.data import data_section
from trainer.report.lists import lists_section, read_index
from trainer.report.markup import Section, note
from trainer.report.page import page
from trainer.report.run import Run, open_run
from trainer.report.samples import samples_section
from trainer.report.sizes import read_curves, sizes_section
from trainer.report.summary import kind_of, summary

_DESCRIPTION = """\
Writes one page on a finished run: its data, how training went, how well it answers and for whom, what its codes mean,
how long lists are, what shorter ones would cost, and some users' recommendations with their reasons. The page is a
single file without scripts; open it in any browser, send it to anybody who may see the data's titles and user ids.
"""
_EPILOG = """\
Measured on a sample of the test queries, by the exported model with nothing pruned. Runs without codes (two_tower,
late_interaction, the all-to-all model) have a page without what is about codes.

exit codes: 0 done; 2 the run is not finished, or an input will not do

example:
  python -m trainer.report --job-dir run --index index --output report.html
"""
_NO_CODES = "This run has no codes: nothing is said of codes, lists and the size of an index."


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m trainer.report",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    path = {"type": pathlib.Path, "metavar": "FILE"}
    parser.add_argument("--job-dir", required=True, type=pathlib.Path, metavar="DIR", help="of the run")
    parser.add_argument("--data", help=f"{DATA_HELP}; default: what the run remembers")
    parser.add_argument(
        "--index",
        type=pathlib.Path,
        metavar="DIR",
        help="built from the run's export, to show its lists; default: what lists there could be",
    )
    parser.add_argument("--curves", **path, help="curves.json of pipeline.curves, to show what was measured as served")
    parser.add_argument("--output", **path, default="report.html", help="the page (default: %(default)s)")
    parser.add_argument("--json", **path, help="gets the numbers behind the page")
    parser.add_argument(
        "--queries", type=int, default=2000, metavar="N", help="most test queries of the sample (default: %(default)s)"
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Writes the page as the flags say."""
    arguments = _parser().parse_args(argv)
    if arguments.queries < 1:
        raise UserError(f"--queries is {arguments.queries}; it must be at least 1")
    _require_inputs(arguments)
    run = open_run(arguments.job_dir, arguments.data, arguments.queries)
    sections = list(_sections(run, arguments))
    command = f"Made by python -m trainer.report {shlex.join(argv)}"
    about = f"{kind_of(run)}, trained on {run.interactions.name}"
    document = page("Training report", about, summary(sections), sections, command)
    with writing(arguments.output):
        write_whole(arguments.output, document)
    if arguments.json:
        numbers = {each.anchor: each.numbers for each in sections}
        with writing(arguments.json):
            write_whole(arguments.json, json.dumps(numbers, indent=1) + "\n")
    print(f"wrote {arguments.output} ({len(document.encode()) / 1e6:.1f} MB)")


def _require_inputs(arguments: argparse.Namespace) -> None:
    """Raises UserError for what would fail only after the work."""
    for path in filter(None, (arguments.output, arguments.json)):
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise UserError(f"{path} cannot be written: it is a directory, or is in none that is there")
    if arguments.index:
        read_index(arguments.index, arguments.job_dir / "export")
    if arguments.curves:
        read_curves(arguments.curves)


def _sections(run: Run, arguments: argparse.Namespace) -> Iterator[Section]:
    """The sections in order, each made as it is asked for, with a bar."""
    answers = answer(run.ranker, run)
    encoded = None if run.exported is None else run.exported.encode(run.queries.histories)
    steps: dict[str, Callable[[], Section]] = {
        "data": lambda: data_section(run),
        "training": lambda: curves_section(run),
        "accuracy": lambda: accuracy_section(run, answers),
    }
    if run.exported is not None:
        steps |= {
            "codes": lambda: codes_section(run, encoded),
            "lists": lambda: lists_section(run, arguments.index),
            "sizes": lambda: sizes_section(run, arguments.curves),
        }
    else:
        steps["codes"] = lambda: Section("Codes", note(_NO_CODES), {})
    steps["recommendations"] = lambda: samples_section(run, answers, encoded)
    with bar(len(steps), "report", "section") as shown:
        for name, make in steps.items():
            shown.set_postfix_str(name, refresh=False)
            yield make()
            shown.update()


if __name__ == "__main__":
    run_cli(main)
