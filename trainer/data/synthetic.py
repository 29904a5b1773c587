"""Made data with planted interests, a long tail of popularity, and drift over time.

Every item belongs to an interest, which its genres and title show. A user has two interests early in
life and two late ones, moves from the first to the second pair as time goes by, and stays with one of
them for some events before turning to another. Within an interest items are taken by a Zipf law
that changes with time: an item has a date of release, is new for a while, and then fades.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from protos.errors import UserError
from trainer.data.features import clock, release_years
from trainer.data.interactions import Coded, Events, Interactions, ItemText, build_interactions

_BEGIN = 1_420_070_400  # 2015-01-01
_SPAN = 5 * 365 * 86_400
_EPOCHS = 40  # popularity is constant within one
_FADES_WITHIN = 0.15  # of the span: how soon an item is no longer new
_FADED = 0.1  # what stays of its popularity then
_SECOND_INTEREST = 0.3  # share of the items that have one
_TURNS = 0.12  # chance that an event turns to another interest
_STRAYS = 0.05  # chance that an event is of any interest
_ZIPF = 1.0
_REDRAWS = 20
_USER = "user-"
_THEMES = (
    *("Western", "Noir", "Space", "Heist", "Pirate", "Courtroom", "Monster", "Ballet", "Spy", "Desert", "Chess"),
    *("Samurai", "Island", "Railway", "Detective", "Carnival", "Arctic", "Jungle", "Opera", "Robot", "Boxing"),
    *("Castle", "Submarine", "Circus"),
)


@dataclasses.dataclass(frozen=True)
class SyntheticSpec:
    """What to make.

    Attributes:
      users: how many; each has 5 events or more, if there are items enough.
      items: size of the catalogue from which events are drawn; an item that nobody took is not in the data.
      interactions: about how many; activity is log-normal over users, at most half the catalogue each.
      interests: planted groups of items.
      seed: same numbers, same data (for one version of NumPy).
    """

    users: int = 600
    items: int = 2_000
    interactions: int = 60_000
    interests: int = 16
    seed: int = 1

    def __post_init__(self) -> None:
        for name, least in (("users", 1), ("items", 1), ("interactions", 1), ("interests", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise UserError(f"synthetic data: {name} is {getattr(self, name)}, expected at least {least}")
        if self.interests > self.items:
            raise UserError(
                f"synthetic data: {self.interests} interests of {self.items} items; every interest needs an item"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class _Films:
    """`[items]` arrays: main and second interest (-1 for none), Zipf weight, release in shares of the span."""

    interest: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    release: np.ndarray


def generate(spec: SyntheticSpec = SyntheticSpec()) -> Interactions:
    """Makes the data of a spec."""
    rng = np.random.default_rng(spec.seed)
    films = _films(spec, rng)
    users, ages, times = _events(spec, rng)
    own = _own_interests(spec, rng)
    interests = _event_interests(spec, own, users, ages, rng)
    cells = interests * _EPOCHS + (times * _EPOCHS).astype(np.int64)
    items = _draw_items(films, users, cells, rng)
    drawn = items >= 0
    order = np.argsort(times[drawn], kind="stable")
    seconds = _BEGIN + (times[drawn][order] * _SPAN).astype(np.int64)
    events = Events(
        Coded(users[drawn][order].astype(np.int32), [f"{_USER}{user}" for user in range(spec.users)]),
        Coded(items[drawn][order].astype(np.int32), [str(item) for item in range(spec.items)]),
        seconds,
        features=clock(seconds),
    )
    interactions = build_interactions("synthetic", events, _texts(films))
    interactions = interactions.with_item_features({"year": release_years(interactions.catalogue.title)})
    return dataclasses.replace(interactions, user_features=_user_features(interactions, own))


def _films(spec: SyntheticSpec, rng: np.random.Generator) -> _Films:
    interest = rng.permutation(np.arange(spec.items) % spec.interests)
    weight = (1 + rng.permutation(spec.items) / spec.interests) ** -_ZIPF
    second = rng.integers(spec.interests, size=spec.items)
    has_second = (rng.random(spec.items) < _SECOND_INTEREST) & (second != interest)
    # Half the catalogue is there from the start.
    release = np.maximum(0.0, rng.uniform(-1.0, 0.95, spec.items))
    return _Films(interest, np.where(has_second, second, -1), weight, release)


def _texts(films: _Films) -> dict[str, ItemText]:
    texts = {}
    for item, (interest, second) in enumerate(zip(films.interest, films.second, strict=True)):
        genres = tuple(_theme(theme) for theme in (interest, second) if theme >= 0)
        year = 2015 + int(5 * films.release[item])
        texts[str(item)] = ItemText(f"{' & '.join(genres)} No. {item} ({year})", genres)
    return texts


def _theme(interest: int) -> str:
    name, again = _THEMES[interest % len(_THEMES)], interest // len(_THEMES)
    return f"{name} {again + 1}" if again else name


def _events(spec: SyntheticSpec, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users of all events, and by user ascending: ages in [0, 1) of the user's life, times in [0, 1) of the span."""
    activity = rng.lognormal(0.0, 0.9, spec.users)
    most = max(1, spec.items // 2)
    counts = np.clip(np.rint(activity * spec.interactions / activity.sum()), min(5, most), most).astype(np.int64)
    users = np.repeat(np.arange(spec.users), counts)
    ages = rng.random(len(users))
    ages = ages[np.lexsort((ages, users))]
    born = rng.uniform(0.0, 0.8, spec.users)
    lifetime = (1 - born) * rng.uniform(0.2, 1.0, spec.users)
    return users, ages, born[users] + ages * lifetime[users]


def _own_interests(spec: SyntheticSpec, rng: np.random.Generator) -> np.ndarray:
    """`[users, 4]`: two interests early in life, two late ones."""
    popularity = 1.0 / np.arange(2, spec.interests + 2)
    return rng.choice(spec.interests, size=(spec.users, 4), p=popularity / popularity.sum())


def _user_features(interactions: Interactions, own: np.ndarray) -> dict[str, pa.Array]:
    """Columns of users: `likes`, the early interests that they name when they join, and the year when they `joined`."""
    numbers = [int(name.removeprefix(_USER)) for name in interactions.user_ids]
    first = interactions.times[np.unique(interactions.users, return_index=True)[1]]
    return {
        "likes": pa.array([sorted({_theme(interest) for interest in own[number, :2]}) for number in numbers]),
        "joined": pa.array(first.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int32) + 1970),
    }


def _event_interests(
    spec: SyntheticSpec, own: np.ndarray, users: np.ndarray, ages: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The interest of each event."""
    late = rng.random(len(users)) < ages
    fresh = own[users, 2 * late + rng.integers(2, size=len(users))]
    turns = rng.random(len(users)) < _TURNS
    turns[np.searchsorted(users, np.arange(spec.users))] = True  # a user's first event
    last_turn = np.maximum.accumulate(np.where(turns, np.arange(len(users)), 0))
    strays = rng.random(len(users)) < _STRAYS
    return np.where(strays, rng.integers(spec.interests, size=len(users)), fresh[last_turn])


def _draw_items(films: _Films, users: np.ndarray, cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An item for each event by its cell, none twice for a user; -1 where repeated draws found no new one."""
    items = np.full(len(users), -1, np.int64)
    open_events = np.arange(len(users))
    for _ in range(_REDRAWS):
        items[open_events] = _draw(films, cells[open_events], rng)
        repeats = np.ones(len(users), bool)
        repeats[np.unique(users * len(films.interest) + items, return_index=True)[1]] = False
        open_events = np.flatnonzero(repeats)
        if not len(open_events):
            break
    items[open_events] = -1
    return items


def _draw(films: _Films, cells: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One item for each (interest, epoch) cell, by the weights of that cell."""
    items = np.empty(len(cells), np.int64)
    order = np.argsort(cells, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(cells[order])) + 1):
        if not len(group):
            continue
        interest, epoch = divmod(int(cells[group[0]]), _EPOCHS)
        members, weights = _weights(films, interest, (epoch + 0.5) / _EPOCHS)
        edges = np.cumsum(weights)
        draws = rng.random(len(group)) * edges[-1]
        items[group] = members[np.minimum(np.searchsorted(edges, draws, side="right"), len(members) - 1)]
    return items


def _weights(films: _Films, interest: int, time: float) -> tuple[np.ndarray, np.ndarray]:
    """The items of an interest that are released at `time`, and their weights."""
    affinity = (films.interest == interest) + 0.5 * (films.second == interest)
    members = np.flatnonzero((affinity > 0) & (films.release <= time))
    if not len(members):  # nothing is out yet: all of the interest
        members = np.flatnonzero(affinity > 0)
    newness = _FADED + np.exp(-np.abs(time - films.release[members]) / _FADES_WITHIN)
    return members, affinity[members] * films.weight[members] * newness
