"""MovieLens: ratings.csv + movies.csv (20M, 25M, latest) and ratings.dat + movies.dat (1M, 10M).

Every rating is an interaction, the low ones too: a rated film was a watched film.
"""

from __future__ import annotations

import pathlib

import pyarrow as pa

from trainer.data import dat, tables
from trainer.data.dat import split_genres
from trainer.data.interactions import Events, Interactions, ItemText

_NO_GENRES = "(no genres listed)"
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
    return dat.rated_films(directory.name, events, tables.numbers(ratings, "rating"), texts)


def read_dat(directory: pathlib.Path) -> Interactions:
    """Reads ratings.dat and movies.dat; the titles of 1M are Latin-1, those of 10M UTF-8.

    Raises:
      UserError: see trainer.data.dat.
    """
    return dat.read(directory, encodings=("utf-8", "latin-1"))


def _genres(text: str) -> tuple[str, ...]:
    return () if text == _NO_GENRES else split_genres(text)
