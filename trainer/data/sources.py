"""Finds out what a path holds and reads it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable

from protos.errors import UserError
from trainer.data import movielens
from trainer.data.interactions import Interactions
from trainer.data.synthetic import SyntheticSpec, generate

SYNTHETIC = "synthetic"

_DIRECTORIES: tuple[tuple[tuple[str, ...], Callable[[pathlib.Path], Interactions]], ...] = (
    (("ratings.csv", "movies.csv"), movielens.read_csv),
    (("ratings.dat", "movies.dat"), movielens.read_dat),
)


def load(source: str | os.PathLike[str]) -> Interactions:
    """Reads interactions from a directory or makes them.

    Args:
      source: a directory with the files of a known format, or `synthetic`, or `synthetic:` with
        parameters of SyntheticSpec, as in `synthetic:users=6000,items=3400,seed=2`.

    Raises:
      UserError: the path does not exist or holds no known format, a file in it is wrong, or a
        parameter is.
    """
    name, colon, parameters = os.fspath(source).partition(":")
    if name == SYNTHETIC:
        return generate(_spec(parameters) if colon else SyntheticSpec())
    path = pathlib.Path(source)
    if not path.exists():
        raise UserError(f"data {path} does not exist; give a directory with {_known()}, or {SYNTHETIC!r}")
    found = sorted(entry.name for entry in path.iterdir())
    for files, read in _DIRECTORIES:
        if set(files) <= set(found):
            return read(path.resolve())
    raise UserError(f"data directory {path} holds no known format: looked for {_known()}")


def _known() -> str:
    return "; ".join(" + ".join(files) for files, _ in _DIRECTORIES)


def _spec(parameters: str) -> SyntheticSpec:
    known = [field.name for field in dataclasses.fields(SyntheticSpec)]
    values = {}
    for parameter in parameters.split(","):
        name, equals, value = parameter.partition("=")
        if name not in known or not equals or not value.isdecimal():
            raise UserError(
                f"{SYNTHETIC}: parameter {parameter!r} is not understood; expected NAME=NUMBER with a name of"
                f" {', '.join(known)}"
            )
        values[name] = int(value)
    return SyntheticSpec(**values)
