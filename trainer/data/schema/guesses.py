"""What files are guessed to be."""

from __future__ import annotations

import dataclasses

from trainer.data.schema.sniff import Sniffed
from trainer.data.schema.spec import Feature, TimeColumn


@dataclasses.dataclass
class Log:
    """The interactions, as guessed; columns by their names in `sniffed`."""

    sniffed: Sniffed
    user: str
    item: str
    time: TimeColumn | None = None
    rating: str = ""
    event: str = ""


@dataclasses.dataclass
class TableGuess:
    """A table, as guessed."""

    sniffed: Sniffed
    place: str
    id: str
    title: str
    features: list[Feature]
    doubts: list[str]
