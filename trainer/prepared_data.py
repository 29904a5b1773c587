"""Prepared data (python -m trainer.data prepare) as data to train on, read while training goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from protos.artifact import MANIFEST
from protos.errors import UserError
from protos.lock import lock_readers
from trainer.config import Config
from trainer.data.features import FeatureColumns
from trainer.data.prepared import BEGINS, EVENTS, ROWS, TRAITS, USER, Prepared
from trainer.data.splits import UNKNOWN, EvaluationQueries, Split
from trainer.exported_queries import SampleQueries
from trainer.prepared_batches import PreparedBatches, PreparedWindows
from trainer.split_data import SplitData
from trainer.training_data import TrainingData

# Users whose codes are observed where `data.indexed_users` does not say: their histories are in memory.
_INDEXED_USERS = 10_000
_USERS_AT_ONCE = 256
_FEATURES = {
    USER: tf.io.FixedLenFeature([], tf.string),
    ROWS: tf.io.RaggedFeature(tf.int64),
    BEGINS: tf.io.FixedLenFeature([2], tf.int64),
    EVENTS: tf.io.RaggedFeature(tf.int64),
    TRAITS: tf.io.FixedLenFeature([], tf.int64),
}


class _User(NamedTuple):
    """A user's public id, rows of events and of their features, oldest first, where parts begin in them, and traits."""

    id: str
    rows: np.ndarray
    events: np.ndarray
    validation: int
    test: int
    traits: int


class PreparedData:
    """The TrainingData (trainer/training_data.py) of a prepared directory; memory holds the catalogue and samples.

    While there is one, the directory cannot be prepared anew.

    Raises:
      UserError: the directory is being prepared anew.
    """

    def __init__(self, prepared: Prepared) -> None:
        message = f"{prepared.directory} is being prepared anew; start again when that has ended"
        self._lock = lock_readers(prepared.directory / MANIFEST, message)
        self.prepared, self.catalogue, self.declared = prepared, prepared.catalogue(), prepared.declared
        self._columns = prepared.columns(self.catalogue)

    def counts(self) -> np.ndarray:
        """`[I]` training events of each row of the catalogue."""
        return self.prepared.counts()

    def columns(self) -> FeatureColumns:
        """Columns of items, and of the distinct events and users."""
        return self._columns

    def checksum(self, config: Config) -> str:
        """SHA-256 of the files."""
        return self.prepared.fingerprint

    def batches(self, config: Config) -> PreparedBatches:
        """The windows in batches."""
        return PreparedBatches(self.prepared, config)

    def windows(self, config: Config) -> PreparedWindows:
        """The windows in pieces."""
        return PreparedWindows(self.prepared, config)

    def validation(self, config: Config) -> EvaluationQueries:
        """The first users with validation events of every shard, whose order is that of a hash.

        Raises:
          UserError: no user has validation events.
        """
        queries = self.sample(config.training.validation_users, validating=True).queries("validation")
        if not len(queries):
            raise UserError("no prepared user has the three events that training, validation and test need")
        return queries

    def sample_queries(self, config: Config) -> SampleQueries:
        """Whole histories and random prefixes of some users; see `split_data.indexed_queries`."""
        return SplitData(self.sample(config.data.indexed_users or _INDEXED_USERS)).sample_queries(config)

    def sample(self, limit: int, validating: bool = False) -> Split:
        """At most `limit` users as a split in memory, the same ones every time; with validation events, if asked."""
        counts = [shard.validating if validating else shard.users for shard in self.prepared.shards]
        users = [
            user
            for path, quota in zip(self.prepared.paths, _quotas(counts, limit), strict=True)
            for user in _first_users(path, quota, validating)
        ]
        users.sort(key=lambda user: (len(user.id), user.id))
        return self._split(users)

    def _split(self, users: Sequence[_User]) -> Split:
        num_items = len(self.catalogue) - self.prepared.tail_buckets
        has_context = bool(self._columns.events or self._columns.users)
        targets = [np.where(user.rows < num_items, user.rows, UNKNOWN) for user in users]
        return Split(
            name=self.prepared.name,
            method=self.prepared.method,
            user_ids=tuple(user.id for user in users),
            catalogue=self.catalogue,
            train=[user.rows[: user.validation] for user in users],
            validation=[rows[user.validation : user.test] for user, rows in zip(users, targets, strict=True)],
            test=[rows[user.test :] for user, rows in zip(users, targets, strict=True)],
            train_events=[user.events[: user.validation] for user in users] if has_context else [],
            validation_events=[user.events[user.validation : user.test] for user in users] if has_context else [],
            event_features=self._columns.events,
            user_features=self._columns.users,
            declared=self.declared,
            user_entries=np.array([user.traits for user in users], np.int64) if has_context else None,
        )


@contextlib.contextmanager
def damage_named(data: TrainingData) -> Iterator[None]:
    """In the block, a shard that turns out to be damaged is an error that names it; TensorFlow says where, not in what.

    Raises:
      UserError: a record of prepared data is not what was written.
    """
    try:
        yield
    except tf.errors.DataLossError as error:
        for path in data.prepared.paths if isinstance(data, PreparedData) else ():
            try:
                tf.data.TFRecordDataset(path).reduce(0, lambda count, _: count + 1)
            except tf.errors.DataLossError as damage:
                found = str(damage.message).partition("}} ")[2].partition(" [Op:")[0]
                raise UserError(f"{path} is damaged ({found}); prepare the data again") from error
        raise


def _quotas(counts: Sequence[int], limit: int) -> list[int]:
    """How many to take of each of some groups, about alike, so that they are `limit`, or all where there are fewer."""
    quotas, left = [0] * len(counts), limit
    by_size = sorted(range(len(counts)), key=lambda place: counts[place])
    for done, place in enumerate(by_size):  # what a small group lacks, larger ones give
        quotas[place] = min(counts[place], left // (len(counts) - done))
        left -= quotas[place]
    return quotas


def _first_users(path: str, limit: int, validating: bool) -> Iterator[_User]:
    """The first users of a shard; those with validation events, if asked."""
    found = 0
    for batch in tf.data.TFRecordDataset(path).batch(_USERS_AT_ONCE) if limit else ():
        parsed = tf.io.parse_example(batch, _FEATURES)
        rows, events = (
            np.split(parsed[name].values.numpy().astype(np.int32), parsed[name].row_splits.numpy()[1:-1])
            for name in (ROWS, EVENTS)
        )
        whole = (parsed[name].numpy().tolist() for name in (USER, BEGINS, TRAITS))
        for of_rows, of_events, user, (validation, test), traits in zip(rows, events, *whole, strict=True):
            if found < limit and (not validating or validation < test):
                found += 1
                yield _User(user.decode(), of_rows, of_events, validation, test, traits)
        if found == limit:
            return
