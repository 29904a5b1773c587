"""Data directories for tests: small ones made here, and the real ones where they are."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence

import pytest

Event = tuple[str, str, int]
"""User, item, seconds."""

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TITLES = {"10": ("Heat, the (1995)", "Action|Crime"), "9": ('"Nine" (2009)', "Musical"), "2": ("Two", "")}
EVENTS: tuple[Event, ...] = (
    ("7", "10", 300),
    ("7", "9", 100),
    ("11", "10", 200),
    ("7", "2", 100),
    ("11", "2", 50),
    ("7", "10", 20),
)


def real_data(name: str) -> pathlib.Path:
    """The directory of a real data set, or skips the test.

    Real data sets are looked for in $SPARCODE_DATA, or in shared/data beside the repository.
    """
    directory = pathlib.Path(os.environ.get("SPARCODE_DATA", REPOSITORY.parent / "shared" / "data")) / name
    if not directory.is_dir():
        pytest.skip(f"no {name} in {directory.parent}; set SPARCODE_DATA to the directory that holds it")
    return directory


def write_movielens_csv(
    directory: pathlib.Path, events: Sequence[Event] = EVENTS, titles: Mapping[str, tuple[str, str]] = TITLES
) -> pathlib.Path:
    """ratings.csv and movies.csv, with the CRLF line ends and the quoting of the real ones."""
    directory.mkdir(parents=True, exist_ok=True)
    ratings = ["userId,movieId,rating,timestamp", *(f"{user},{item},3.5,{time}" for user, item, time in events)]
    quoted = {item: '"' + title.replace('"', '""') + '"' for item, (title, _) in titles.items()}
    movies = [
        "movieId,title,genres",
        *(f"{item},{quoted[item]},{genres or '(no genres listed)'}" for item, (_, genres) in titles.items()),
    ]
    (directory / "ratings.csv").write_bytes("".join(f"{line}\r\n" for line in ratings).encode())
    (directory / "movies.csv").write_bytes("".join(f"{line}\r\n" for line in movies).encode())
    return directory


def write_dat(
    directory: pathlib.Path,
    events: Sequence[Event] = EVENTS,
    titles: Mapping[str, tuple[str, str]] = TITLES,
    encoding: str = "utf-8",
) -> pathlib.Path:
    """ratings.dat and movies.dat."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "ratings.dat").write_text("".join(f"{user}::{item}::4::{time}\n" for user, item, time in events))
    movies = "".join(f"{item}::{title}::{genres}\n" for item, (title, genres) in titles.items())
    (directory / "movies.dat").write_text(movies, encoding=encoding)
    return directory
