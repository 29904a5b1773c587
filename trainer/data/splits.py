"""What is trained on, what chooses the model, and what judges it.

Every split works user by user on events sorted by time, and its catalogue holds only the items that
occur in training: a later event of any other item has row -1. Such events are left out of histories
and stay among the targets, where every model misses them alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np

from protos.errors import UserError
from trainer.config import FeaturesConfig
from trainer.data.features import Columns, FeatureColumns
from trainer.data.histories import Histories
from trainer.data.interactions import Interactions, Items

UNKNOWN = -1
Sequences = list[np.ndarray]

TRAIN, VALIDATION, TEST = 0, 1, 2


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationQueries:
    """Histories to answer, and what came after them.

    Attributes:
      users: `[Q]` int32 indices into the split's user_ids, ascending.
      histories: Q int32 arrays of catalogue rows, oldest first; one can be empty. They are `Histories`
        where more is known of the events.
      targets: Q int32 arrays, none empty, oldest first; -1 is an item outside the catalogue.
    """

    users: np.ndarray
    histories: Sequences | Histories
    targets: Sequences

    def __len__(self) -> int:
        return len(self.users)

    def sample(self, limit: int, seed: int) -> EvaluationQueries:
        """These queries, or a random sample of `limit` of them, in the same order, where there are more."""
        if len(self) <= limit:
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:limit]))

    def take(self, positions: np.ndarray) -> EvaluationQueries:
        """These queries only, in this order: for a sample."""
        histories = self.histories
        return EvaluationQueries(
            self.users[positions],
            histories.take(positions)
            if isinstance(histories, Histories)
            else [histories[position] for position in positions],
            [self.targets[position] for position in positions],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Events of U users in three parts.

    Attributes:
      name: of the data.
      method: one of METHODS.
      user_ids: U public ids.
      catalogue: the items of training; its order defines the rows.
      train: U int32 arrays of rows, oldest first.
      validation: U int32 arrays, -1 for items outside the catalogue; empty for users with too few events.
      test: like validation.
      train_events: arrays like those of train, of entries of the event columns; empty where there are none.
      validation_events: like train_events.
      event_features: columns of all events, or of distinct ones.
      user_features: columns of the U users, or of distinct ones.
      declared: the features that the data itself declares.
      user_entries: `[U]` entries of the user columns; None: each user's own number.
    """

    name: str
    method: str
    user_ids: tuple[str, ...]
    catalogue: Items
    train: Sequences
    validation: Sequences
    test: Sequences
    train_events: Sequences = dataclasses.field(default_factory=list)
    validation_events: Sequences = dataclasses.field(default_factory=list)
    event_features: Columns = dataclasses.field(default_factory=dict)
    user_features: Columns = dataclasses.field(default_factory=dict)
    declared: FeaturesConfig = dataclasses.field(default_factory=FeaturesConfig)
    user_entries: np.ndarray | None = None

    def columns(self) -> FeatureColumns:
        """All that is known beside ids, and which events are for training."""
        trained = np.concatenate([np.zeros(0, np.int64), *self.train_events])
        entries = max(map(len, self.event_features.values()), default=0)
        counts = np.bincount(trained, minlength=entries) if entries else None
        return FeatureColumns(self.catalogue.columns(), self.event_features, self.user_features, counts)

    def training_histories(self) -> Histories:
        """The training events of every user, with the keys to their columns."""
        return self._of_users(self.train, self.train_events)

    def known_histories(self) -> Histories:
        """The training events of every user and then the known ones of validation, with the keys to their columns."""
        known = [rows != UNKNOWN for rows in self.validation]
        events = _joined(self.train_events, self.validation_events, known)
        return self._of_users(_joined(self.train, self.validation, known), events)

    def _of_users(self, rows: Sequences, events: Sequences) -> Histories:
        users = np.arange(len(rows)) if self.user_entries is None else self.user_entries
        return Histories(rows, events, users) if events else Histories.of(rows)

    def queries(self, part: Literal["validation", "test"]) -> EvaluationQueries:
        """The queries of a part: its events are the targets, all known events before it the history."""
        if part == "validation":
            histories, targets = self.training_histories(), self.validation
        elif part == "test":
            histories, targets = self.known_histories(), self.test
        else:
            raise ValueError(f"part is {part!r}, expected 'validation' or 'test'")
        users = np.array([user for user, rows in enumerate(targets) if len(rows)], np.int32)
        return EvaluationQueries(users, histories.take(users), [targets[user] for user in users])

    def summary(self) -> str:
        """One line for people: events in each part, and how many of them no model can hit."""
        counts = {part: sum(map(len, getattr(self, part))) for part in ("train", "validation", "test")}
        unknown = sum(int((events == UNKNOWN).sum()) for events in self.test)
        sizes = ", ".join(f"{count:,} {part}" for part, count in counts.items())
        return (
            f"{self.method} split: {sizes} events; {len(self.catalogue):,} items in training;"
            f" {unknown:,} test events are of items never seen in training"
        )


def split(interactions: Interactions, method: str = "chronological") -> Split:
    """Splits interactions.

    Args:
      interactions: to be split.
      method: `chronological`: each user's last 10% test, the 10% before that validation.
        `leave_last_out`: the last event test, the one before it validation (SASRec's protocol).
        Both leave users with fewer than three events wholly in training.
        `fixed`: the test events are those that the source holds out; the last 10% of each user's
        others validate (users with fewer than two others: none).
        A tenth is rounded half up, and is at least one event.

    Raises:
      UserError: an unknown method, or `fixed` on data that holds nothing out.
    """
    if method not in METHODS:
        raise UserError(f"split method {method!r} is unknown; choose one of {', '.join(METHODS)}")
    parts = METHODS[method](interactions)
    trained = np.unique(interactions.items[parts == TRAIN])
    row_of = np.full(len(interactions.catalogue), UNKNOWN, np.int32)
    row_of[trained] = np.arange(len(trained))
    rows = row_of[interactions.items]
    train, validation, test = (_by_user(interactions, rows, parts == part) for part in (TRAIN, VALIDATION, TEST))
    numbers = np.arange(len(interactions))
    return Split(
        name=interactions.name,
        method=method,
        user_ids=interactions.user_ids,
        catalogue=interactions.catalogue.take(trained),
        train=train,
        validation=validation,
        test=test,
        train_events=_by_user(interactions, numbers, parts == TRAIN),
        validation_events=_by_user(interactions, numbers, parts == VALIDATION),
        event_features=interactions.event_features,
        user_features=interactions.user_features,
        declared=interactions.declared,
    )


def test_events(interactions: Interactions, method: str) -> np.ndarray:
    """Places of the test events of a split among all events, in the order of its `test`."""
    return np.flatnonzero(METHODS[method](interactions) == TEST)


def _tenth(counts: np.ndarray) -> np.ndarray:
    return np.maximum(1, (counts + 5) // 10)


def _cut(counts: np.ndarray, positions: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Parts `[N]` when the last `size` events of a user test and as many before them validate."""
    from_end = counts - positions
    parts = np.where(from_end <= size, TEST, np.where(from_end <= 2 * size, VALIDATION, TRAIN))
    return np.where(counts < 3, TRAIN, parts)


def _chronological(interactions: Interactions) -> np.ndarray:
    counts, positions = _places(interactions.users)
    return _cut(counts, positions, _tenth(counts))


def _leave_last_out(interactions: Interactions) -> np.ndarray:
    counts, positions = _places(interactions.users)
    return _cut(counts, positions, np.ones_like(counts))


def _fixed(interactions: Interactions) -> np.ndarray:
    if interactions.held_out is None:
        raise UserError(
            f"{interactions.name} holds no test events out, which split method 'fixed' needs (train.txt and"
            " test.txt); use 'chronological'"
        )
    parts = np.full(len(interactions), TEST)
    open_events = ~interactions.held_out
    counts, positions = _places(interactions.users[open_events])
    validates = (counts - positions <= _tenth(counts)) & (counts >= 2)
    parts[open_events] = np.where(validates, VALIDATION, TRAIN)
    return parts


METHODS: dict[str, Callable[[Interactions], np.ndarray]] = {
    "chronological": _chronological,
    "leave_last_out": _leave_last_out,
    "fixed": _fixed,
}


def _places(users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For events sorted by user: how many events its user has, and which of them it is (from 0)."""
    _, first, counts = np.unique(users, return_index=True, return_counts=True)
    return np.repeat(counts, counts), np.arange(len(users)) - np.repeat(first, counts)


def _by_user(interactions: Interactions, rows: np.ndarray, chosen: np.ndarray) -> Sequences:
    counts = np.bincount(interactions.users[chosen], minlength=len(interactions.user_ids))
    return np.split(rows[chosen], np.cumsum(counts)[:-1])


def _joined(old: Sequences, new: Sequences, known: Sequences) -> Sequences:
    """Each user's old events and the known ones of the new; nothing where nothing is recorded."""
    if not old:
        return []
    return [np.concatenate([one, other[kept]]) for one, other, kept in zip(old, new, known, strict=True)]
