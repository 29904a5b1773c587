"""MovieLens: ratings.csv + movies.csv (20M, 25M, latest) and ratings.dat + movies.dat (1M, 10M).

Every rating is an interaction, the low ones too: a rated film was a watched film.
"""

from __future__ import annotations

import pathlib

import pyarrow as pa

from protos.errors import UserError
from trainer.data import tables
from trainer.data.interactions import Events, Interactions, ItemText, build_interactions

_NO_GENRES = "(no genres listed)"
_DAT_COLUMNS = {"user": tables.ID, "item": tables.ID, "rating": tables.NUMBER, "time": tables.SECONDS}
_DAT = tables.Layout("::", _DAT_COLUMNS, names=tuple(_DAT_COLUMNS))
_RATINGS = tables.Layout(
    ",", {"userId": tables.ID, "movieId": tables.ID, "rating": tables.NUMBER, "timestamp": tables.SECONDS}
)
_MOVIES = tables.Layout(",", {"movieId": tables.ID, "title": pa.string(), "genres": pa.string()})


def read_csv(directory: pathlib.Path) -> Interactions:
    """Reads ratings.csv and movies.csv.

    Raises:
      UserError: see trainer.data.tables.read_table.
    """
    ratings = tables.read_table(directory / "ratings.csv", _RATINGS)
    movies = tables.read_table(directory / "movies.csv", _MOVIES)
    columns = (movies.column(name).to_pylist() for name in _MOVIES.columns)
    texts = {item: ItemText(title or item, _genres(genres)) for item, title, genres in zip(*columns, strict=True)}
    events = Events(
        tables.coded(ratings, "userId"), tables.coded(ratings, "movieId"), tables.numbers(ratings, "timestamp")
    )
    return build_interactions(directory.name, events, texts)


def read_dat(directory: pathlib.Path) -> Interactions:
    """Reads ratings.dat and movies.dat, fields separated by `::`.

    Raises:
      UserError: see trainer.data.tables.read_table; a line of movies.dat without a `::`.
    """
    ratings = tables.read_table(directory / "ratings.dat", _DAT)
    events = Events(tables.coded(ratings, "user"), tables.coded(ratings, "item"), tables.numbers(ratings, "time"))
    return build_interactions(directory.name, events, _movies_dat(directory / "movies.dat"))


def _movies_dat(path: pathlib.Path) -> dict[str, ItemText]:
    """`id::title::genre|genre` a line, UTF-8, or Latin-1 as in 1M; a title may hold `::`, genres may be missing."""
    texts = {}
    for number, line in tables.text_lines(path, encodings=("utf-8", "latin-1")):
        item, *rest = line.split("::")
        if not rest or not item:
            raise UserError(f"{path}, line {number}: found {line[:200]!r}, expected id::title::genre|genre")
        title, genres = ("::".join(rest[:-1]), rest[-1]) if len(rest) > 1 else (rest[0], "")
        texts[item] = ItemText(title or item, _genres(genres))
    return texts


def _genres(text: str) -> tuple[str, ...]:
    return () if text == _NO_GENRES else tuple(genre for genre in text.split("|") if genre)
