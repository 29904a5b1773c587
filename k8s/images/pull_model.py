"""Copies one published version of the model into a pod, and lets it be seen only when every byte is as published.

Runs before the server starts (an init container), or while an image with the model in it is made.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence

from protos.artifact import new_artifact
from protos.command_line import CommandParser
from protos.errors import run_cli
from protos.storage import open_store


def pull(published: str, version: int, output: pathlib.Path) -> pathlib.Path:
    """Copies a version published at a URL or path to `output/version`, which is complete and verified, or not there.

    Raises:
      UserError: there is no such version, or it is not what its manifest says.
    """
    store = open_store(published)
    target = output / str(version)
    with new_artifact(target) as building:
        store.fetch(version, building)
    return target


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python k8s/images/pull_model.py",
        description="Copies one published version to where a server reads it, and checks every byte by its manifest.",
        epilog="example: python k8s/images/pull_model.py --published s3://BUCKET/sparcode --version 12 --output models",
    )
    parser.add_argument(
        "--published", required=True, help="where numbered versions are: a directory, or gs://... or s3://..."
    )
    parser.add_argument("--version", type=int, required=True, help="the version to copy")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the server's base path of the model")
    return parser


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    arguments = _parser().parse_args(argv)
    print(f"{pull(arguments.published, arguments.version, arguments.output)}: complete, as published")


if __name__ == "__main__":
    run_cli(main)
