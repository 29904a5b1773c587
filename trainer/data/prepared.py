"""What a prepared directory holds: users as records in shards, the catalogue, and a manifest.

A record is a tf.train.Example of one user:

    user    bytes, the public id
    rows    int64 list: the catalogue's row of each event, oldest first; -1 is an item outside the catalogue
    times   int64 list: seconds since 1970, or positions where the source has no times
    begins  int64 list of two: the first of the validation events in `rows`, and the first of the test events
    events  int64 list: which of the distinct rows of event features each event has
    traits  int64, which of the distinct rows of user features the user has
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from protos.artifact import MANIFEST, read_manifest
from trainer.config import FeatureConfig, FeaturesConfig
from trainer.data.features import NONE, Columns, FeatureColumns
from trainer.data.interactions import Items

FORMAT = "sparcode.prepared/2"
USER, ROWS, TIMES, BEGINS, EVENTS, TRAITS = "user", "rows", "times", "begins", "events", "traits"
CATALOGUE, COUNTS = "items.parquet", "item_counts.npy"
# The distinct rows of features, and how many training events or users have each.
EVENT_FEATURES, USER_FEATURES = "event_features", "user_features"
REMOVED = "removed"
_OWN = ("item_id", "title", "genres")


def shard_name(shard: int, num_shards: int) -> str:
    """File name of a shard of users."""
    return f"users-{shard:05d}-of-{num_shards:05d}.tfrecord"


@dataclasses.dataclass(frozen=True)
class ShardCounts:
    """What a shard holds.

    Attributes:
      users: records.
      validating: those with validation events.
      train: events.
      validation: events.
      test: events.
      unknown_tests: test events of items that are not in the catalogue.
      lengths: how many users have so many training events.
    """

    users: int
    validating: int
    train: int
    validation: int
    test: int
    unknown_tests: int
    lengths: Mapping[int, int]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared directory.

    Attributes:
      directory: that holds it.
      name: of the data.
      method: of the split.
      fingerprint: of all its files.
      declared: the features that the data declares.
      shards: what each of the shards holds, by number.
      tail_buckets: rows at the end of the catalogue that items beyond it share.
    """

    directory: pathlib.Path
    name: str
    method: str
    fingerprint: str
    declared: FeaturesConfig
    shards: tuple[ShardCounts, ...]
    tail_buckets: int

    @property
    def paths(self) -> list[str]:
        """The shards' files, by number."""
        count = len(self.shards)
        return [str(self.directory / shard_name(shard, count)) for shard in range(count)]

    def total(self, name: str) -> int:
        """Sum over the shards of one of their counts."""
        return sum(getattr(shard, name) for shard in self.shards)

    def lengths(self) -> dict[int, int]:
        """How many users have so many training events, in all shards."""
        found: dict[int, int] = {}
        for shard in self.shards:
            for length, count in shard.lengths.items():
                found[length] = found.get(length, 0) + count
        return found

    def counts(self) -> np.ndarray:
        """`[I]` training events of each row of the catalogue."""
        return np.load(self.directory / COUNTS)

    def columns(self, catalogue: Items) -> FeatureColumns:
        """Columns of `catalogue`, which has been read, and of the distinct events and users."""
        (events, event_counts), (users, user_counts) = (
            _read_features(self.directory, name) for name in (EVENT_FEATURES, USER_FEATURES)
        )
        return FeatureColumns(catalogue.columns(), events, users, event_counts, user_counts)

    def catalogue(self) -> Items:
        """The items by row; those that buckets stand for, last, are marked in the column `removed`."""
        columns = _read_columns(self.directory / CATALOGUE)
        ids, titles, genres = (columns.pop(name).to_pylist() for name in _OWN)
        return Items(tuple(ids), tuple(titles), tuple(map(tuple, genres)), columns)

    def summary(self) -> str:
        """Lines for people: what there is, the parts of the split, and what features events and users have."""
        items = pq.read_metadata(self.directory / CATALOGUE).num_rows - self.tail_buckets
        parts = ", ".join(f"{self.total(part):,} {part}" for part in ("train", "validation", "test"))
        tail = f", {self.tail_buckets:,} rows for the tail" if self.tail_buckets else ""
        return (
            f"{self.name}: {self.total('users'):,} users, {items:,} items{tail}, in {len(self.shards)} shards\n"
            f"{self.method} split: {parts} events; {self.total('unknown_tests'):,} test events are of items that are"
            f" not in the catalogue{self._described(EVENT_FEATURES)}{self._described(USER_FEATURES)}"
        )

    def _described(self, name: str) -> str:
        path = self.directory / f"{name}.parquet"
        if not path.exists():
            return ""
        found = pq.read_metadata(path)
        columns = ", ".join(found.schema.to_arrow_schema().names)
        return f"\n{name.replace('_', ' ')}: {columns}; {found.num_rows:,} distinct rows"


def is_prepared(path: str | os.PathLike[str]) -> bool:
    """Whether a prepared directory of whatever version is there."""
    manifest, kind = pathlib.Path(path).expanduser() / MANIFEST, FORMAT.partition("/")[0]
    return manifest.is_file() and f'"{kind}/' in manifest.read_text()


def read_prepared(path: str | os.PathLike[str]) -> Prepared:
    """Reads the manifest of a prepared directory; every file must be there, in its size.

    What shards hold is not read: each of their records has a checksum of its own.

    Raises:
      UserError: there is no whole prepared directory.
    """
    directory = pathlib.Path(path).expanduser().resolve()
    manifest = read_manifest(directory, FORMAT, contents=False)
    return Prepared(
        directory,
        *(manifest[name] for name in ("name", "method", "fingerprint")),
        _features(manifest["declared"]),
        tuple(_shard(shard) for shard in manifest["shards"]),
        manifest["tail_buckets"],
    )


def manifest_fields(prepared: Prepared) -> dict[str, Any]:
    """What a manifest says beside the files."""
    fields = {name: getattr(prepared, name) for name in ("name", "method", "tail_buckets")}
    shards = [dataclasses.asdict(shard) | {"lengths": sorted(shard.lengths.items())} for shard in prepared.shards]
    declared = json.loads(json.dumps(dataclasses.asdict(prepared.declared)))
    return fields | {"shards": shards, "declared": declared}


def write_catalogue(directory: pathlib.Path, catalogue: Items, counts: np.ndarray) -> None:
    """Writes the items by row and their counts."""
    pq.write_table(pa.table(catalogue.columns()), directory / CATALOGUE)
    np.save(directory / COUNTS, counts)


def write_features(directory: pathlib.Path, name: str, columns: Columns, counts: np.ndarray) -> None:
    """Writes distinct rows of features and their counts; a table without columns is none."""
    if columns:
        pq.write_table(pa.table(dict(columns)), directory / f"{name}.parquet")
        np.save(directory / f"{name}_counts.npy", counts)


def _read_features(directory: pathlib.Path, name: str) -> tuple[Columns, np.ndarray | None]:
    path = directory / f"{name}.parquet"
    return (_read_columns(path), np.load(directory / f"{name}_counts.npy")) if path.exists() else (NONE, None)


def _read_columns(path: pathlib.Path) -> dict[str, pa.Array]:
    found = pq.read_table(path)
    return {name: found[name].combine_chunks() for name in found.column_names}


def _shard(fields: Mapping[str, Any]) -> ShardCounts:
    return ShardCounts(**{**fields, "lengths": dict(map(tuple, fields["lengths"]))})


def _features(fields: Mapping[str, Any]) -> FeaturesConfig:
    places = {
        place: tuple(FeatureConfig(**feature) for feature in fields[place]) for place in ("items", "events", "users")
    }
    return FeaturesConfig(**{**fields, **places})
