"""MovieTweetings: ratings.dat, movies.dat and users.dat; items are IMDb numbers, leading zeros kept.

Every rating is an interaction, the low ones too: a rated film was a watched film.
"""

from __future__ import annotations

import pathlib

from trainer.data import dat
from trainer.data.interactions import Interactions


def is_movietweetings(directory: pathlib.Path) -> bool:
    """Tells it from MovieLens 1M: a line of users.dat is `user::twitter id`, not five fields."""
    with (directory / "users.dat").open("rb") as file:
        return file.readline().count(b"::") == 1


def read(directory: pathlib.Path) -> Interactions:
    """Reads ratings.dat and movies.dat, which are UTF-8; users.dat, the Twitter accounts, is left alone.

    Raises:
      UserError: see trainer.data.dat.
    """
    return dat.read(directory, encodings=("utf-8",))
