"""Copies one published version of the model into a pod, and lets it be seen only when every byte is as published.

Runs before the server starts (an init container), or while an image with the model in it is made.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
from collections.abc import Sequence

from protos.artifact import MANIFEST, new_artifact, read_manifest
from protos.errors import UserError, run_cli

# As serving.export writes it; a test holds both together. This image has no TensorFlow to import that module with.
SERVABLE_FORMAT = "sparcode.servable/3"
INNER_MANIFEST = pathlib.Path("assets.extra") / MANIFEST


def pull(published: pathlib.Path, version: int, output: pathlib.Path) -> pathlib.Path:
    """Copies `published/version` to `output/version`, which is complete and verified, or not there.

    Raises:
      UserError: there is no such version, or it is not what its manifest says.
    """
    source = published / str(version)
    if not source.is_dir():
        raise UserError(
            f"{published} has no version {version}, only {_versions(published)}; publish it, or pin one that is there"
        )
    target = output / str(version)
    with new_artifact(target) as building:
        shutil.copytree(source, building, dirs_exist_ok=True)
        verify(building)
    return target


def verify(version_dir: pathlib.Path) -> None:
    """Holds a version against the manifest in it.

    Raises:
      UserError: the manifest or a file is missing, truncated or changed, or it is of another format.
    """
    inner = version_dir / INNER_MANIFEST
    if not inner.is_file():
        raise UserError(f"version {version_dir} has no {INNER_MANIFEST}: serving.export has not written it whole")
    # It lists paths from the version's own directory.
    outer = inner.rename(version_dir / MANIFEST)
    read_manifest(version_dir, SERVABLE_FORMAT)
    outer.rename(inner)


def _versions(published: pathlib.Path) -> str:
    names = published.iterdir() if published.is_dir() else ()
    numbers = sorted(int(path.name) for path in names if path.name.isdecimal() and path.is_dir())
    return ", ".join(map(str, numbers)) or "none"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Copies one published version and checks it by its manifest.")
    parser.add_argument("--published", type=pathlib.Path, required=True, help="directory of numbered versions")
    parser.add_argument("--version", type=int, required=True, help="the version to copy")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the server's base path of the model")
    return parser


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    arguments = _parser().parse_args(argv)
    print(f"{pull(arguments.published, arguments.version, arguments.output)}: complete, as published")


if __name__ == "__main__":
    run_cli(main)
