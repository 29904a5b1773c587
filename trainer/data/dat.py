"""`ratings.dat` and `movies.dat`, the format that MovieLens 1M and 10M share with MovieTweetings."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from protos.errors import UserError
from trainer.data import tables
from trainer.data.features import clock, release_years
from trainer.data.interactions import Events, Interactions, ItemText, build_interactions

_COLUMNS = {"user": tables.ID, "item": tables.ID, "rating": tables.NUMBER, "time": tables.SECONDS}
_RATINGS = tables.Layout("::", _COLUMNS, names=tuple(_COLUMNS))


def read(directory: pathlib.Path, encodings: Sequence[str]) -> Interactions:
    """Reads `user::item::rating::time` and `id::title::genre|genre` lines.

    Args:
      directory: with ratings.dat and movies.dat.
      encodings: of movies.dat, tried in this order.

    Raises:
      UserError: see trainer.data.tables.read_table; a line of movies.dat without a `::`.
    """
    ratings = tables.read_table(directory / "ratings.dat", _RATINGS)
    return rated_films(
        directory.name,
        Events(tables.coded(ratings, "user"), tables.coded(ratings, "item"), tables.numbers(ratings, "time")),
        tables.numbers(ratings, "rating"),
        _texts(directory / "movies.dat", encodings),
    )


def rated_films(name: str, events: Events, ratings: np.ndarray, texts: Mapping[str, ItemText]) -> Interactions:
    """Interactions with the columns that every source of film ratings has.

    Items have `year`, from their titles; events have `rating`, `hour` and `weekday`.
    """
    columns = {"rating": pa.array(ratings, pa.float32()), **clock(events.times)}
    interactions = build_interactions(name, events._replace(features=columns), texts)
    return interactions.with_item_features({"year": release_years(interactions.catalogue.title)})


def split_genres(text: str) -> tuple[str, ...]:
    """`Drama|War` to its parts."""
    return tuple(genre for genre in text.split("|") if genre)


def _texts(path: pathlib.Path, encodings: Sequence[str]) -> dict[str, ItemText]:
    """Titles may hold `::`, and genres may be missing with or without their separator."""
    texts = {}
    for number, line in tables.text_lines(path, encodings):
        item, *rest = line.split("::")
        if not rest or not item:
            raise UserError(f"{path}, line {number}: found {line[:200]!r}, expected id::title::genre|genre")
        title, genres = ("::".join(rest[:-1]), rest[-1]) if len(rest) > 1 else (rest[0], "")
        texts[item] = ItemText(title or item, split_genres(genres))
    return texts
