"""`python -m trainer.data`: writes a schema of one's own files (`init`), says what is wrong with them (`check`), and
writes a log as records to stream (`prepare`)."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Sequence

from protos.artifact import writing
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from trainer.data.prepare.options import DESCRIPTION, EPILOG, add_flags, options_of
from trainer.data.schema import summary
from trainer.data.schema.check import check
from trainer.data.schema.guess import guess
from trainer.data.schema.schema_file import read_schema

_EPILOG = """\
example, from files to a trained model:
  python -m trainer.data init path/to/files --output shop.yaml   # looks at the files, writes a schema to read and mend
  python -m trainer.data check --schema shop.yaml                # what it understood, and every problem with its cure
  python -m trainer.task --data shop.yaml --job-dir run          # --data takes the schema wherever it takes data
a log larger than memory:
  python -m trainer.data prepare --data shop.yaml --output prepared && python -m trainer.task --data prepared ...
"""
_CHECK = """\
Reads the files of a schema and prints what it understood: rows, users, items, times, events a user, features with the
share of rows that have them. Then it lists every problem with file, row (the first below the header is 1), column,
what was found, and the cure. Exits 0 if there are only warnings, 1 if there are errors, 2 if it cannot read at all.
"""
_INIT = """\
Looks at files, or at all data files of a directory (Parquet, CSV, TSV, JSON lines, TFRecord, .dat), guesses which is
the log of interactions and which are tables of items and users, and what each column is, by names and content. Writes a
schema with comments, and says of what it was not sure. The schema is for you to read and mend.
"""
_DEFAULT_SAMPLE = 1_000_000


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m trainer.data",
        description="Brings data of your own: a schema file (YAML) says which files and columns hold what.",
        epilog=_EPILOG,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{init,check,prepare}")
    init = commands.add_parser("init", help="write a schema by looking at files", description=_INIT, epilog=_EPILOG)
    init.add_argument("paths", nargs="+", metavar="PATH", help="a directory, or files")
    init.add_argument("--output", type=pathlib.Path, default=pathlib.Path("schema.yaml"), help="(default: %(default)s)")
    init.add_argument("--force", action="store_true", help="write over a schema that is there")
    checks = commands.add_parser("check", help="say what is wrong with data", description=_CHECK, epilog=_EPILOG)
    checks.add_argument("--schema", type=pathlib.Path, required=True, help="the schema file")
    checks.add_argument(
        "--sample",
        type=int,
        default=_DEFAULT_SAMPLE,
        metavar="N",
        help="read at most N rows of the log, the first ones of each file alike; 0 reads all (default: %(default)s)."
        " Tables are read whole",
    )
    checks.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write summary and problems there too")
    add_flags(
        commands.add_parser(
            "prepare",
            help="write a log as records that training streams, for logs larger than memory",
            description=DESCRIPTION,
            epilog=EPILOG,
        )
    )
    return parser


def _init(arguments: argparse.Namespace) -> int:
    output: pathlib.Path = arguments.output
    if output.exists() and not arguments.force:
        raise UserError(f"{output} exists already; give another --output, or --force to write over it")
    guessed = guess(arguments.paths, output.resolve().parent)
    try:
        output.write_text(guessed.text)
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}; give another --output") from error
    print(f"wrote {output}")
    for doubt in guessed.doubts:
        print(f"not sure: {doubt}")
    print(f"next: python -m trainer.data check --schema {output}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    if arguments.sample < 0:
        raise UserError(f"--sample is {arguments.sample}; expected a number of rows, or 0 for all")
    if arguments.json and (arguments.json.is_dir() or not arguments.json.resolve().parent.is_dir()):
        raise UserError(f"--json {arguments.json} cannot be written; expected a file in a directory that exists")
    checked = check(read_schema(arguments.schema), arguments.sample or None)
    report = checked.report
    print(summary.text(checked.summary))
    for finding in report.findings():
        print(f"{report.level(finding)}: {report.text(finding)}")
    errors, found = report.errors(), len(report.findings())
    print(f"{summary.counted(errors, 'error')}, {summary.counted(found - errors, 'warning')}")
    if arguments.json:
        content = {"errors": errors, "summary": checked.summary, "problems": report.to_json()}
        with writing(arguments.json):
            arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if errors else 0


def _prepare(arguments: argparse.Namespace, beam_flags: Sequence[str]) -> int:
    options = options_of(arguments)
    try:
        from trainer.data.prepare.prepare import prepare  # Beam, which no other command needs
    except ModuleNotFoundError as error:
        raise UserError(f"prepare runs on Apache Beam ({error}); install the extra 'beam' too") from error
    print(prepare(options, beam_flags).summary())
    print(f"next: python -m trainer.task --data {options.output} --job-dir run")
    return 0


def main(argv: Sequence[str]) -> int:
    """Runs the command that the arguments name; 1 where data has errors."""
    parser = _parser()
    arguments, others = parser.parse_known_args(argv)
    if arguments.command == "prepare":
        return _prepare(arguments, others)
    if others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    return {"init": _init, "check": _check}[arguments.command](arguments)


if __name__ == "__main__":
    run_cli(main)
