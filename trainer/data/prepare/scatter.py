"""The first stage: events of each file of a log, put into pieces by the partition of their user."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from trainer.data.interactions import Interactions
from trainer.data.prepare.hashing import buckets
from trainer.data.prepare.tasks import Task, whole_file
from trainer.data.schema.events import Events, SoundEvents, sound_events
from trainer.data.schema.files import DataFile
from trainer.data.schema.judge import judge_times
from trainer.data.schema.reading import SourceReader
from trainer.data.schema.report import Report
from trainer.data.schema.spec import InteractionSource
from trainer.data.schema.values import MICROS

_PIECE_ROWS = 1 << 18
# A piece holds a batch for every partition: with very many of them, pieces are larger.
_ROWS_A_PARTITION = 256
_SLICE_ROWS = 65_536
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


class Columns(NamedTuple):
    """N events: user and item ids, and microseconds since 1970; None where there are no times."""

    users: pa.Array
    items: pa.Array
    micros: pa.Array | None


class Scattered(NamedTuple):
    """What came of a file: its pieces, in order, and what was wrong with it."""

    pieces: list[str]
    report: Report


@dataclasses.dataclass(frozen=True)
class Scatter(Task):
    """Scatters a file of a source.

    It is given as it was found: by its name alone, it might be taken for a pattern, or sought in another file system.
    """

    source: InteractionSource
    file: DataFile
    max_bad_share: float
    num_partitions: int

    def do(self) -> Scattered:
        """Writes the pieces.

        Raises:
          UserError: the file or a column cannot be read.
        """
        report = Report(self.max_bad_share, stop_at_once=True)
        reader = SourceReader("interactions", self.source, report, [self.file])
        start = pathlib.Path(self.scratch) / f"piece-{self.number:06d}"
        return Scattered(write_pieces(_judged(reader), start, self.num_partitions), report)


def _judged(reader: SourceReader) -> Iterator[Columns]:
    """The sound events of a log; odd times are reported."""
    for kept in sound_events(reader):
        judge_times(_as_events(kept), reader, "warning")
        yield Columns(kept.users, kept.items, kept.micros)


def _as_events(kept: SoundEvents) -> Events:
    micros = None if kept.micros is None else np.asarray(kept.micros)
    return Events(None, None, micros, {}, np.full(len(kept.numbers), kept.file), kept.numbers)


def columns_of(interactions: Interactions) -> Iterator[Columns]:
    """The events of interactions in memory, some at a time."""
    users, items = (pa.array(ids, pa.string()) for ids in (interactions.user_ids, interactions.catalogue.item_id))
    for start in range(0, len(interactions), _SLICE_ROWS):
        part = slice(start, start + _SLICE_ROWS)
        yield Columns(
            users.take(pa.array(interactions.users[part])),
            items.take(pa.array(interactions.items[part])),
            pa.array(interactions.times[part] * MICROS),
        )


def write_pieces(batches: Iterable[Columns], start: pathlib.Path, num_partitions: int) -> list[str]:
    """Writes events as Arrow files with one record batch a partition.

    Args:
      batches: of events, in the order of the log.
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
        if sum(len(each.users) for each in held) >= most:
            flush()
    if held:
        flush()
    return paths


def _write_piece(path: pathlib.Path, held: list[Columns], num_partitions: int) -> None:
    columns = [pa.concat_arrays(parts) for parts in zip(*held, strict=True) if parts[0] is not None]
    names = ["user", "item", "micros"][: len(columns)]
    coded = columns[0].dictionary_encode()
    partitions = buckets(coded.dictionary.to_pylist(), num_partitions)[np.asarray(coded.indices)]
    order = np.argsort(partitions, kind="stable")
    rows = pa.record_batch(columns, names).take(pa.array(order))
    ends = np.cumsum(np.bincount(partitions, minlength=num_partitions)).tolist()
    with whole_file(path) as temporary, pa.ipc.new_file(str(temporary), rows.schema, options=_COMPRESSED) as writer:
        for first, end in zip([0, *ends], ends, strict=False):
            writer.write_batch(rows.slice(first, end - first))
