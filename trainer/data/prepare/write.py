"""The third stage: a partition's users as records of a shard."""

from __future__ import annotations

import collections
import dataclasses
import functools
import pathlib
import pickle
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf

from protos.errors import UserError
from trainer.data.prepare.arrange import Arranged, arranged_path
from trainer.data.prepare.hashing import mixed
from trainer.data.prepare.tasks import Task, whole_file
from trainer.data.prepare.vocabulary import rows_of_ids
from trainer.data.prepared import BEGINS, EVENTS, ROWS, TIMES, TRAITS, USER, ShardCounts, shard_name
from trainer.data.splits import TEST, TRAIN, UNKNOWN, VALIDATION

ITEM_IDS = "item_ids.arrow"


class UserEvents(NamedTuple):
    """A user's events, oldest first: rows, seconds and features `[n]`, where validation and test begin, and traits."""

    user: str
    rows: np.ndarray
    times: np.ndarray
    events: np.ndarray
    begins: tuple[int, int]
    traits: int


class Counts(NamedTuple):
    """How many of a shard's training events have each row of the catalogue and of event features, and so for users."""

    rows: np.ndarray
    events: np.ndarray
    users: np.ndarray


@dataclasses.dataclass(frozen=True)
class Write(Task):
    """Writes the shard of its number.

    Attributes:
      directory: gets the shard.
      num_shards: how many there are.
      tail_buckets: rows past the catalogue's ids, that other items are hashed into.
    """

    directory: str
    num_shards: int
    tail_buckets: int

    def do(self) -> ShardCounts:
        """Writes it, and how often each row of the catalogue, and of features, is in its training events.

        Raises:
          UserError: the shard cannot be written.
        """
        known = read_ids(self.scratch)
        numbers: Numbers = pickle.loads(numbers_path(self.scratch, self.number).read_bytes())
        arranged: Arranged | None = pickle.loads(arranged_path(self.scratch, self.number).read_bytes())
        counts = _Counts(len(known), self.tail_buckets, numbers.counts)
        path = pathlib.Path(self.directory) / shard_name(self.number, self.num_shards)
        try:
            with whole_file(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
                for events in _users(arranged, known, self.tail_buckets, numbers) if arranged else ():
                    writer.write(_record(events))
                    counts.add(events)
        except tf.errors.OpError as error:
            raise UserError(f"cannot write {path}: {error.message}") from error
        with whole_file(_row_counts_path(self.scratch, self.number)) as temporary:
            temporary.write_bytes(pickle.dumps(counts.of))
        return counts.of_shard()


def write_ids(scratch: str, ids: tuple[str, ...]) -> None:
    """Leaves the catalogue's ids for `Write`."""
    rows = pa.record_batch([pa.array(ids, pa.string())], ["item_id"])
    with pa.ipc.new_file(f"{scratch}/{ITEM_IDS}", rows.schema) as writer:
        writer.write_batch(rows)


def read_ids(scratch: str) -> pa.Array:
    """The catalogue's ids."""
    with pa.OSFile(f"{scratch}/{ITEM_IDS}") as opened:
        return pa.ipc.open_file(opened).get_batch(0)["item_id"]


class Numbers(NamedTuple):
    """Which of all distinct rows of features those of a partition are, of events and of users.

    Attributes:
      counts: how many there are in all partitions.
      events: of the partition's.
      users: of the partition's.
    """

    counts: tuple[int, int]
    events: np.ndarray
    users: np.ndarray


def numbers_path(scratch: str, partition: int) -> pathlib.Path:
    """Where `Write` looks for its pickled Numbers."""
    return pathlib.Path(scratch) / f"numbers-{partition}.pickle"


def read_counts(scratch: str, shards: int) -> Counts:
    """The sum of what all shards have counted."""
    paths = (_row_counts_path(scratch, shard) for shard in range(shards))
    return functools.reduce(
        lambda whole, more: Counts(*map(np.add, whole, more)), (pickle.loads(path.read_bytes()) for path in paths)
    )


def _row_counts_path(scratch: str, shard: int) -> pathlib.Path:
    return pathlib.Path(scratch) / f"rows-{shard}.pickle"


def _users(arranged: Arranged, known: pa.Array, tail_buckets: int, numbers: Numbers) -> Iterator[UserEvents]:
    """The users of a partition, in an order that has to do with nothing."""
    made, parts = arranged.interactions, arranged.parts
    features, traits = numbers.events[arranged.events], numbers.users[arranged.users]
    rows = rows_of_ids(list(made.catalogue.item_id), known, tail_buckets)[made.items]
    # Training sees only what has a row; what validation and test miss, every model misses.
    kept = (rows != UNKNOWN) | (parts != TRAIN)
    lengths = np.bincount(made.users[kept], minlength=len(made.user_ids))
    ends = np.cumsum(lengths)
    begins = ends - lengths
    rows, times, features, parts = (column[kept] for column in (rows, made.times, features, parts))
    for user in np.argsort(mixed(made.user_ids), kind="stable").tolist():
        part = slice(begins[user], ends[user])
        if part.start < part.stop:
            first = np.searchsorted(parts[part], [VALIDATION, TEST]).tolist()
            own_columns = (column[part] for column in (rows, times, features))
            yield UserEvents(made.user_ids[user], *own_columns, tuple(first), int(traits[user]))


def _record(events: UserEvents) -> bytes:
    lists = {
        ROWS: events.rows.tolist(),
        TIMES: events.times.tolist(),
        BEGINS: events.begins,
        EVENTS: events.events.tolist(),
        TRAITS: [events.traits],
    }
    features = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=values)) for name, values in lists.items()}
    features[USER] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[events.user.encode()]))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


class _Counts:
    """Counts what is written."""

    def __init__(self, num_items: int, tail_buckets: int, distinct: tuple[int, int]) -> None:
        self.of = Counts(*(np.zeros(size, np.int64) for size in (num_items + tail_buckets, *distinct)))
        self._num_items = num_items
        self._lengths: collections.Counter[int] = collections.Counter()
        self._validating = self._validation = self._test = self._unknown = 0

    def add(self, events: UserEvents) -> None:
        validation, test = events.begins
        np.add.at(self.of.rows, events.rows[:validation], 1)
        np.add.at(self.of.events, events.events[:validation], 1)
        self.of.users[events.traits] += 1
        self._lengths[validation] += 1
        self._validating += test > validation
        self._validation += test - validation
        tests = events.rows[test:]
        self._test += len(tests)
        self._unknown += int(((tests == UNKNOWN) | (tests >= self._num_items)).sum())

    def of_shard(self) -> ShardCounts:
        return ShardCounts(
            users=self._lengths.total(),
            validating=self._validating,
            train=sum(length * count for length, count in self._lengths.items()),
            validation=self._validation,
            test=self._test,
            unknown_tests=self._unknown,
            lengths=dict(self._lengths),
        )
