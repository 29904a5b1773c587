"""Histories that know which event and whose history they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Histories(Sequence[np.ndarray]):
    """Q histories: a sequence of their item rows, with the keys to further columns of events and users.

    Attributes:
      rows: Q arrays of catalogue rows, oldest first; what the sequence itself holds.
      events: Q arrays alike of entries of the event columns.
      users: `[Q]` entries of the user columns.
    """

    rows: Sequence[np.ndarray]
    events: Sequence[np.ndarray]
    users: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[np.ndarray]) -> Histories:
        """Histories of which nothing else is known: their keys are -1."""
        return cls(rows, [np.full(len(history), -1) for history in rows], np.full(len(rows), -1))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int | slice) -> np.ndarray | Histories:
        return self.take(range(len(self))[place]) if isinstance(place, slice) else self.rows[place]

    def cut(self, pieces: Iterable[tuple[int, int, int]]) -> Histories:
        """Pieces of these histories, each given by its place, its first event and the event after its last."""
        pieces = list(pieces)
        rows, events = (
            [sequences[place][start:stop] for place, start, stop in pieces] for sequences in (self.rows, self.events)
        )
        return Histories(rows, events, self.users[[place for place, _, _ in pieces]])

    def take(self, places: Iterable[int]) -> Histories:
        """These histories only, in this order."""
        places = list(places)
        return Histories(
            [self.rows[place] for place in places], [self.events[place] for place in places], self.users[places]
        )
