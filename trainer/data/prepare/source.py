"""The log to prepare: the files of a schema, a task each, or interactions that another reader has read."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from collections.abc import Callable
from typing import NamedTuple

from protos.errors import UserError
from trainer.config import FeaturesConfig
from trainer.data.interactions import Interactions, Items
from trainer.data.prepare.scatter import Scatter, Scattered, columns_of, write_pieces
from trainer.data.prepare.tasks import Task
from trainer.data.schema.events import refuse_nothing
from trainer.data.schema.load import described_items, read_table
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
      with_context: whether features of events and users must be there, which records cannot hold.

    Raises:
      UserError: a file is not found, or the schema declares such features.
    """

    def __init__(self, path: str, with_context: bool) -> None:
        schema = read_schema(path)
        if with_context and schema.declared.context:
            raise UserError(
                f"{path}: feature {schema.declared.context[0].name!r} is one of events or users, which prepared data"
                " does not hold; --no_context leaves them out, and --data of trainer.task takes the schema itself"
            )
        interactions = dataclasses.replace(schema.interactions, features=())
        self._schema = dataclasses.replace(schema, interactions=interactions, users=None)
        self.name, self.declared = self._schema.name, self._schema.declared
        self._report = Report(self._schema.max_bad_share, stop_at_once=True)
        self._log = SourceReader("interactions", self._schema.interactions, self._report)

    @property
    def default_shards(self) -> int:
        """By the bytes of the files."""
        infos = [file.filesystem.get_file_info(file.path) for file in self._log.files]
        return _shards(sum(info.size or 0 for info in infos))

    def scatter(self, scratch: str, num_partitions: int, run: RunTasks) -> tuple[str, ...]:
        """Puts events into pieces by the partition of their user; the pieces, in the order of the log.

        Raises:
          UserError: a file cannot be read, or has no event; too many rows are bad.
        """
        source = self._schema.interactions
        tasks = [
            Scatter(scratch, number, source, file, self._schema.max_bad_share, num_partitions)
            for number, file in enumerate(self._log.files)
        ]
        pieces: list[str] = []
        for found in run(tasks):
            self._report.merge(found.report)
            pieces += found.pieces
        self._report.require_sound()
        if not pieces:
            refuse_nothing(self._log)
        return tuple(pieces)

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
    """Interactions in memory."""

    interactions: Interactions

    @property
    def name(self) -> str:
        """Of the data."""
        return self.interactions.name

    @property
    def declared(self) -> FeaturesConfig:
        """Those of items: records hold no others."""
        return FeaturesConfig(items=self.interactions.declared.items)

    @property
    def default_shards(self) -> int:
        """By the number of events."""
        return _shards(_BYTES_AN_EVENT * len(self.interactions))

    def scatter(self, scratch: str, num_partitions: int, run: RunTasks) -> tuple[str, ...]:
        """Puts events into pieces; see SchemaSource."""
        return tuple(write_pieces(columns_of(self.interactions), pathlib.Path(scratch) / "piece", num_partitions))

    def items(self, ids: tuple[str, ...]) -> Items:
        """What is known of these items."""
        rows = {item: row for row, item in enumerate(self.interactions.catalogue.item_id)}
        return self.interactions.catalogue.take(rows[item] for item in ids)


def source_of(data: str, with_context: bool) -> SchemaSource | KnownSource:
    """The log that --data names; see SchemaSource.

    Raises:
      UserError: it cannot be read.
    """
    return SchemaSource(data, with_context) if is_schema(data) else KnownSource(load(data))


def _shards(size: int) -> int:
    return min(_MOST_SHARDS, max(_FEWEST_SHARDS, -(-size // _BYTES_A_SHARD)))
