"""The log to prepare: the files of a schema, a task each, or interactions that another reader has read."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pyarrow as pa

from trainer.config import FeaturesConfig
from trainer.data.features import NONE
from trainer.data.interactions import Interactions, Items
from trainer.data.prepare.arrange import PLACES, Lacking, Pieces
from trainer.data.prepare.scatter import USER, Scatter, Scattered, events_of, named, write_pieces
from trainer.data.prepare.tasks import Task
from trainer.data.schema.events import refuse_nothing
from trainer.data.schema.judge import judge_absent
from trainer.data.schema.load import MANY_ABSENT, described_items, read_table, refuse_empty
from trainer.data.schema.reading import SourceReader
from trainer.data.schema.report import Report
from trainer.data.schema.schema_file import read_schema
from trainer.data.sources import is_schema, load

_LOG = logging.getLogger(__name__)
_BYTES_AN_EVENT = 10  # as compressed columns have them
# Of compressed columns some hundred thousand events, which take tens of megabytes while they are sorted.
_BYTES_A_SHARD = 4 << 20
_FEWEST_SHARDS, _MOST_SHARDS = 8, 4096

RunTasks = Callable[[list[Task]], list[Scattered]]


class SchemaSource:
    """The files of a schema.

    Args:
      path: of the schema.
      with_context: whether features of events and users are kept.

    Raises:
      UserError: a file is not found.
    """

    def __init__(self, path: str, with_context: bool) -> None:
        schema = read_schema(path)
        if not with_context:
            schema = dataclasses.replace(
                schema, interactions=dataclasses.replace(schema.interactions, features=()), users=None
            )
        self._schema, self.name, self.declared = schema, schema.name, schema.declared
        self._report = Report(schema.max_bad_share, stop_at_once=True)
        self._log = SourceReader("interactions", schema.interactions, self._report)
        # What says nothing of users need not be read.
        has_traits = schema.users is not None and schema.users.features
        self._users = SourceReader("users", schema.users, self._report) if has_traits else None

    @property
    def default_shards(self) -> int:
        """By the bytes of the files."""
        infos = [file.filesystem.get_file_info(file.path) for file in self._log.files]
        return _shards(sum(info.size or 0 for info in infos))

    def scatter(self, scratch: str, num_partitions: int, run: RunTasks) -> Pieces:
        """Puts events and rows of users into pieces by the partition of their user.

        Raises:
          UserError: a file cannot be read, or has no event; too many rows are bad.
        """
        tasks = [
            Scatter(
                *(scratch, number, reader.place, reader.source, file, self._schema.max_bad_share, num_partitions),
                tuple(feature.name for feature in reader.source.features),
            )
            for reader in (self._log, self._users)
            if reader is not None
            for number, file in enumerate(reader.files)
        ]
        found = run(tasks)
        for scattered in found:
            self._report.merge(scattered.report)
        self._report.require_sound()
        pieces = {"interactions": [], "users": []}
        for task, each in zip(tasks, found, strict=True):
            pieces[task.place] += each.pieces
        events, users = pieces.values()
        if not events:
            refuse_nothing(self._log)
        if self._users is not None and not users:
            refuse_empty(self._users)
        return Pieces(events, users)

    def judge_users(self, lacking: Sequence[Lacking]) -> None:
        """Notes a warning where many users of the log have no row in the table of users."""
        if self._users is not None:
            examples = [user for each in lacking for user in each.examples]
            absent, users = (sum(getattr(each, name) for each in lacking) for name in ("absent", "users"))
            judge_absent(examples, absent, users, self._users, MANY_ABSENT)

    def items(self, ids: tuple[str, ...]) -> Items:
        """What is known of these items.

        Raises:
          UserError: the table cannot be read, or too many of its rows are bad.
        """
        table = read_table("items", self._schema.items, ids, self._report)
        for warning in self._report.require_sound():
            _LOG.warning("%s", warning)
        return described_items(self._schema.items, table, ids)


class KnownSource(NamedTuple):
    """Interactions in memory, with or without features of events and users."""

    interactions: Interactions
    with_context: bool

    @property
    def name(self) -> str:
        """Of the data."""
        return self.interactions.name

    @property
    def declared(self) -> FeaturesConfig:
        """The features that the data declares."""
        declared = self.interactions.declared
        return declared if self.with_context else FeaturesConfig(items=declared.items)

    @property
    def default_shards(self) -> int:
        """By the number of events."""
        return _shards(_BYTES_AN_EVENT * len(self.interactions))

    def scatter(self, scratch: str, num_partitions: int, run: RunTasks) -> Pieces:
        """Puts events into pieces; see SchemaSource."""
        made = self.interactions
        events = events_of(made, made.event_features if self.with_context else NONE)
        traits = made.user_features if self.with_context else NONE
        users = [{USER: pa.array(made.user_ids, pa.string())} | named(traits)] if traits else []
        return Pieces(
            *(
                write_pieces(rows, pathlib.Path(scratch) / place, num_partitions)
                for place, rows in zip(PLACES, (events, users), strict=True)
            )
        )

    def judge_users(self, lacking: Sequence[Lacking]) -> None:
        """Every user has a row."""

    def items(self, ids: tuple[str, ...]) -> Items:
        """What is known of these items."""
        rows = {item: row for row, item in enumerate(self.interactions.catalogue.item_id)}
        return self.interactions.catalogue.take(rows[item] for item in ids)


def source_of(data: str, with_context: bool) -> SchemaSource | KnownSource:
    """The log that --data names; see SchemaSource.

    Raises:
      UserError: it cannot be read.
    """
    return SchemaSource(data, with_context) if is_schema(data) else KnownSource(load(data), with_context)


def _shards(size: int) -> int:
    return min(_MOST_SHARDS, max(_FEWEST_SHARDS, -(-size // _BYTES_A_SHARD)))
