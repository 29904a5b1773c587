"""The one type that every source of data is read into."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from trainer.config import FeaturesConfig
from trainer.data.features import NONE, Columns, take


class Coded(NamedTuple):
    """A column of ids with every distinct id kept once: the column is `ids[codes]`."""

    codes: np.ndarray
    ids: Sequence[str]

    @classmethod
    def of(cls, column: Iterable[str]) -> Coded:
        """Codes a column, numbering ids as they first appear."""
        numbers: dict[str, int] = {}
        codes = [numbers.setdefault(value, len(numbers)) for value in column]
        return cls(np.array(codes, np.int32), list(numbers))

    def canonical(self) -> Coded:
        """The same column with its ids in canonical order, whatever order they came in.

        Shorter ids first, then by text: numbers stand in numeric order, and every other id has one
        place too. Ids that no row uses are dropped.
        """
        used = np.unique(self.codes)
        ranked = sorted(used.tolist(), key=lambda code: (len(self.ids[code]), self.ids[code]))
        place = np.full(len(self.ids), -1, np.int32)
        place[ranked] = np.arange(len(ranked))
        return Coded(place[self.codes], [self.ids[code] for code in ranked])


class ItemText(NamedTuple):
    """What a source says of an item."""

    title: str
    genres: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Items:
    """A catalogue: entry `row` of each column describes the item of that row.

    Attributes:
      item_id: public ids, distinct.
      title: the item id where the source names none.
      genres: empty where the source names none.
      features: further columns by name.
    """

    item_id: tuple[str, ...]
    title: tuple[str, ...]
    genres: tuple[tuple[str, ...], ...]
    features: Columns = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.item_id)

    def take(self, rows: Iterable[int]) -> Items:
        """The catalogue of these rows, in this order."""
        rows = list(rows)
        columns = (tuple(column[row] for row in rows) for column in (self.item_id, self.title, self.genres))
        return Items(*columns, take(self.features, rows))

    def columns(self) -> dict[str, pa.Array]:
        """All columns by name, as an export writes them."""
        return {
            "item_id": pa.array(self.item_id, pa.string()),
            "title": pa.array(self.title, pa.string()),
            "genres": pa.array(self.genres, pa.list_(pa.string())),
            **self.features,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Interactions:
    """Who took what and when. Every event counts as positive feedback, whatever its rating.

    Events are sorted by user and then by time; events of one user at one time stay in the order of
    the source. A (user, item) pair occurs once: the first by time. Users and items are numbered in
    canonical order (`Coded.canonical`), so nothing but those ties depends on the order of the source.

    Attributes:
      name: of the data, for people.
      users: `[N]` int32 indices into `user_ids`, ascending.
      items: `[N]` int32 rows of `catalogue`.
      times: `[N]` int64 seconds since 1970, or positions where the source has no times.
      user_ids: public ids; every one has an event.
      catalogue: exactly the items that occur.
      held_out: `[N]` bool, the events that the source itself keeps for the test; None if it does not.
      event_features: columns of N entries by name.
      user_features: columns by name, an entry for each of `user_ids`.
      declared: the features that the source itself declares; what a configuration leaves open is filled from them.
    """

    name: str
    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    user_ids: tuple[str, ...]
    catalogue: Items
    held_out: np.ndarray | None = None
    event_features: Columns = dataclasses.field(default_factory=dict)
    user_features: Columns = dataclasses.field(default_factory=dict)
    declared: FeaturesConfig = dataclasses.field(default_factory=FeaturesConfig)

    def __len__(self) -> int:
        return len(self.users)

    def with_item_features(self, features: Columns) -> Interactions:
        """The same interactions, with further columns of the catalogue."""
        catalogue = dataclasses.replace(self.catalogue, features={**self.catalogue.features, **features})
        return dataclasses.replace(self, catalogue=catalogue)

    def summary(self) -> str:
        """One line for people: sizes and density."""
        density = len(self) / (len(self.user_ids) * len(self.catalogue))
        return (
            f"{self.name}: {len(self.user_ids):,} users, {len(self.catalogue):,} items,"
            f" {len(self):,} interactions ({density:.2%} of all pairs)"
        )


class Events(NamedTuple):
    """Events as a source gives them, in its order: parallel columns of N entries."""

    users: Coded
    items: Coded
    times: np.ndarray
    held_out: np.ndarray | None = None
    features: Columns = NONE


def build_interactions(name: str, events: Events, texts: Mapping[str, ItemText]) -> Interactions:
    """Sorts events, keeps the first of each (user, item) pair, and numbers users and items.

    Args:
      name: of the data, for people.
      events: at least one, in the order of the source.
      texts: titles and genres by item id; items without events are left out, missing ones are named
        by their id.
    """
    users, items = events.users.canonical(), events.items.canonical()
    times = np.asarray(events.times, np.int64)
    kept = _first_of_pairs(users.codes, items.codes, times)
    order = kept[np.lexsort((kept, times[kept], users.codes[kept]))]
    known = [texts.get(item, ItemText(item, ())) for item in items.ids]
    return Interactions(
        name=name,
        users=users.codes[order],
        items=items.codes[order],
        times=times[order],
        user_ids=tuple(users.ids),
        catalogue=Items(tuple(items.ids), tuple(text.title for text in known), tuple(text.genres for text in known)),
        held_out=None if events.held_out is None else events.held_out[order],
        event_features=take(events.features, order),
    )


def _first_of_pairs(users: np.ndarray, items: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Positions of the first event by time of each (user, item); the source's order breaks ties."""
    order = np.lexsort((times, items, users))
    is_first = np.ones(len(order), bool)
    is_first[1:] = (np.diff(users[order]) != 0) | (np.diff(items[order]) != 0)
    return order[is_first]
