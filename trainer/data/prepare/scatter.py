"""The first stage: rows of each file of a log or a table of users, put into pieces by the partition of their user."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from trainer.data.features import Columns
from trainer.data.interactions import Interactions
from trainer.data.prepare.hashing import buckets
from trainer.data.prepare.tasks import Task, whole_file
from trainer.data.schema.events import Events, SoundEvents, sound_events
from trainer.data.schema.files import DataFile
from trainer.data.schema.judge import judge_times
from trainer.data.schema.reading import SourceReader
from trainer.data.schema.report import Report
from trainer.data.schema.spec import InteractionSource, Table
from trainer.data.schema.tables import table_rows
from trainer.data.schema.values import MICROS

USER, ITEM, TIME = "user", "item", "micros"
_FEATURE = "feature "  # before the names of features, which may be called as they like
_PIECE_ROWS = 1 << 18
# A piece holds a batch for every partition: with very many of them, pieces are larger.
_ROWS_A_PARTITION = 256
_SLICE_ROWS = 65_536
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


class Scattered(NamedTuple):
    """What came of a file: its pieces, in order, and what was wrong with it."""

    pieces: list[str]
    report: Report


@dataclasses.dataclass(frozen=True)
class Scatter(Task):
    """Scatters a file of a source: the log, or a table of users.

    It is given as it was found: by its name alone, it might be taken for a pattern, or sought in another file system.

    Attributes:
      place: `interactions` or `users`.
      source: of the file.
      file: to be read.
      max_bad_share: of the schema.
      num_partitions: P.
      features: names of those that are kept.
    """

    place: str
    source: InteractionSource | Table
    file: DataFile
    max_bad_share: float
    num_partitions: int
    features: tuple[str, ...]

    @property
    def result(self) -> pathlib.Path:
        """See Task; both places have files of a number."""
        return pathlib.Path(self.scratch) / f"{type(self).__name__}-{self.place}-{self.number}.done"

    def do(self) -> Scattered:
        """Writes the pieces.

        Raises:
          UserError: the file or a column cannot be read.
        """
        report = Report(self.max_bad_share, stop_at_once=True)
        reader = SourceReader(self.place, self.source, report, [self.file])
        start = pathlib.Path(self.scratch) / f"{self.place}-{self.number:06d}"
        rows = _users(reader) if isinstance(self.source, Table) else _events(reader)
        return Scattered(write_pieces((self._kept(batch) for batch in rows), start, self.num_partitions), report)

    def _kept(self, batch: tuple[Columns, Columns]) -> Columns:
        own, features = batch
        return own | named({name: features[name] for name in self.features})


def named(features: Columns) -> dict[str, pa.Array]:
    """Columns of features as they are called in pieces."""
    return {_FEATURE + name: column for name, column in features.items()}


def features_of(rows: pa.RecordBatch) -> dict[str, pa.Array]:
    """The features of a piece's rows by their own names."""
    names = [name for name in rows.schema.names if name.startswith(_FEATURE)]
    return {name.removeprefix(_FEATURE): rows[name] for name in names}


def _events(reader: SourceReader) -> Iterator[tuple[Columns, Columns]]:
    """The sound events of a log; odd times are reported."""
    for kept in sound_events(reader):
        judge_times(_as_events(kept), reader, "warning")
        times = {} if kept.micros is None else {TIME: kept.micros}
        yield {USER: kept.users, ITEM: kept.items} | times, kept.features


def _as_events(kept: SoundEvents) -> Events:
    micros = None if kept.micros is None else np.asarray(kept.micros)
    return Events(None, None, micros, {}, np.full(len(kept.numbers), kept.file), kept.numbers)


def _users(reader: SourceReader) -> Iterator[tuple[Columns, Columns]]:
    """The rows of a table that have an id; others are reported."""
    for _, ids, features in table_rows(reader):
        yield {USER: ids.drop_null()}, {name: column.filter(ids.is_valid()) for name, column in features.items()}


def events_of(interactions: Interactions, features: Columns) -> Iterator[Columns]:
    """The events of interactions in memory, some at a time, with these of their features."""
    users, items = (pa.array(ids, pa.string()) for ids in (interactions.user_ids, interactions.catalogue.item_id))
    for start in range(0, len(interactions), _SLICE_ROWS):
        part = slice(start, start + _SLICE_ROWS)
        yield {
            USER: users.take(pa.array(interactions.users[part])),
            ITEM: items.take(pa.array(interactions.items[part])),
            TIME: pa.array(interactions.times[part] * MICROS),
        } | named({name: column[part] for name, column in features.items()})


def write_pieces(batches: Iterable[Columns], start: pathlib.Path, num_partitions: int) -> list[str]:
    """Writes rows as Arrow files with one record batch a partition.

    Args:
      batches: of rows, in the order of the log or table.
      start: of the files' names.
      num_partitions: P.

    Returns:
      The files' names, in order.
    """
    most = max(_PIECE_ROWS, _ROWS_A_PARTITION * num_partitions)
    held: list[Columns] = []
    paths: list[str] = []

    def flush() -> None:
        path = start.with_name(f"{start.name}-{len(paths):06d}.arrow")
        _write_piece(path, held, num_partitions)
        paths.append(str(path))
        held.clear()

    for batch in batches:
        held.append(batch)
        if sum(len(each[USER]) for each in held) >= most:
            flush()
    if held:
        flush()
    return paths


def _write_piece(path: pathlib.Path, held: list[Columns], num_partitions: int) -> None:
    columns = {name: pa.concat_arrays([batch[name] for batch in held]) for name in held[0]}
    coded = columns[USER].dictionary_encode()
    partitions = buckets(coded.dictionary.to_pylist(), num_partitions)[np.asarray(coded.indices)]
    order = np.argsort(partitions, kind="stable")
    rows = pa.record_batch(columns).take(pa.array(order))
    ends = np.cumsum(np.bincount(partitions, minlength=num_partitions)).tolist()
    with whole_file(path) as temporary, pa.ipc.new_file(str(temporary), rows.schema, options=_COMPRESSED) as writer:
        for first, end in zip([0, *ends], ends, strict=False):
            writer.write_batch(rows.slice(first, end - first))
