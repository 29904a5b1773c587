"""Finds out what a path holds and reads it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable

from protos.errors import UserError
from trainer.data import movielens, movietweetings, sequences
from trainer.data.interactions import Interactions
from trainer.data.prepared import is_prepared
from trainer.data.schema import load_schema
from trainer.data.synthetic import SyntheticSpec, generate

SYNTHETIC = "synthetic"
# Of --data, wherever `load` reads it.
DATA_HELP = "directory of a known format, schema of your own files (python -m trainer.data --help), or 'synthetic'"
_SCHEMAS = (".yaml", ".yml")


@dataclasses.dataclass(frozen=True)
class Format:
    """A directory format: the files it is known by, a further test if they are not enough, and its reader."""

    files: tuple[str, ...]
    read: Callable[[pathlib.Path], Interactions]
    fits: Callable[[pathlib.Path], bool] = lambda directory: True


FORMATS = (
    Format(("ratings.csv", "movies.csv"), movielens.read_csv),
    Format(("ratings.dat", "movies.dat", "users.dat"), movietweetings.read, movietweetings.is_movietweetings),
    Format(("ratings.dat", "movies.dat"), movielens.read_dat),
    Format(("train.txt", "test.txt"), sequences.read_lists),
    Format(("interactions.txt",), lambda directory: sequences.read_pairs(directory / "interactions.txt")),
)


def load(source: str | os.PathLike[str]) -> Interactions:
    """Reads interactions from a path or makes them.

    Args:
      source: a directory with the files of one of FORMATS; a .yaml file, the schema of one's own files
        (trainer/data/schema); a .txt file of `user item` lines;
        `synthetic`, or `synthetic:` with parameters of SyntheticSpec, as in
        `synthetic:users=6000,items=3400,seed=2`.

    Raises:
      UserError: the path does not exist or holds no known format, a file in it is wrong, or a
        parameter is.
    """
    name, colon, parameters = os.fspath(source).partition(":")
    if name == SYNTHETIC:
        return generate(_spec(parameters) if colon else SyntheticSpec())
    path = pathlib.Path(source).expanduser().resolve()
    if not path.exists():
        raise UserError(f"data {path} does not exist; expected {_known()}")
    if is_schema(path):
        return load_schema(path)
    if path.is_dir() and is_prepared(path):
        raise UserError(f"data {path} is prepared for trainer.task, which streams it; expected {_known()}")
    if path.is_dir():
        return _read_directory(path)
    if path.suffix == ".txt":
        return sequences.read_pairs(path)
    raise UserError(f"data file {path} is of no known format; expected {_known()}")


def is_schema(source: str | os.PathLike[str]) -> bool:
    """Whether a source is the schema of one's own files."""
    return pathlib.Path(source).suffix in _SCHEMAS


def _read_directory(path: pathlib.Path) -> Interactions:
    found = {entry.name for entry in path.iterdir()}
    for known in FORMATS:
        if found.issuperset(known.files) and known.fits(path):
            return known.read(path)
    listing = ", ".join(sorted(found)[:12]) or "nothing"
    raise UserError(f"data directory {path} holds no known format: found {listing}; expected {_known()}")


def _known() -> str:
    directories = "; ".join(" + ".join(known.files) for known in FORMATS)
    files = "the .yaml schema of your own files; or a .txt file of 'user item' lines"
    return f"a directory with {directories}; or {files}; or {SYNTHETIC!r}"


def _spec(parameters: str) -> SyntheticSpec:
    known = [field.name for field in dataclasses.fields(SyntheticSpec)]
    values = {}
    for parameter in parameters.split(","):
        name, _, value = parameter.partition("=")
        if name not in known or not value.isdecimal():
            raise UserError(
                f"{SYNTHETIC} data: {parameter!r} is not understood; expected NAME=NUMBER with a name of"
                f" {', '.join(known)}"
            )
        values[name] = int(value)
    return SyntheticSpec(**values)
