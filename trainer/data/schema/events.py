"""Gathers the log: sound events, as numbers of users and items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from protos.errors import UserError
from trainer.data.interactions import Coded
from trainer.data.schema.columns import id_column, joined
from trainer.data.schema.reading import Part, SourceReader
from trainer.data.schema.spec import WEIGHT, InteractionSource
from trainer.data.schema.values import MICROS, identifiers, numbers, times


class Events(NamedTuple):
    """N sound events, in the order of files and rows.

    Attributes:
      users: ids.
      items: ids.
      micros: `[N]` int64 microseconds since 1970; None where the source has no times.
      features: columns by name; `weight` among them where the source weighs events.
      files: `[N]` places in the reader's files.
      rows: `[N]` rows of these.
    """

    users: Coded
    items: Coded
    micros: np.ndarray | None
    features: dict[str, pa.Array]
    files: np.ndarray
    rows: np.ndarray


class Vocabulary:
    """Numbers for ids, as they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def encode(self, ids: pa.Array) -> np.ndarray:
        """`[N]` int32; only distinct ids of a batch pass through Python."""
        coded = ids.dictionary_encode()
        places = [self._numbers.setdefault(each, len(self._numbers)) for each in coded.dictionary.to_pylist()]
        return np.array(places, np.int32)[np.asarray(coded.indices)]

    def ids(self) -> list[str]:
        """By number."""
        return list(self._numbers)


class SoundEvents(NamedTuple):
    """The sound events of some rows; `file` and `numbers` say of which."""

    file: int

    users: pa.Array
    items: pa.Array
    micros: pa.Array | None
    features: dict[str, pa.Array]
    numbers: np.ndarray


def collect_events(reader: SourceReader, limit: int | None = None) -> Events:
    """Reads the log; rows that lack what every event has are reported, those of no weight are counted.

    Raises:
      UserError: a file cannot be read, or nothing is left.
    """
    users, items = Vocabulary(), Vocabulary()
    codes, micros, features, places = [], [], [], []
    for kept in sound_events(reader, limit):
        codes.append((users.encode(kept.users), items.encode(kept.items)))
        micros.append(np.asarray(kept.micros) if kept.micros is not None else np.zeros(0, np.int64))
        features.append(kept.features)
        places.append((np.full(len(kept.numbers), kept.file, np.int32), kept.numbers))
    if not sum(len(one) for one, _ in codes):
        refuse_nothing(reader)
    user_codes, item_codes = (np.concatenate(parts) for parts in zip(*codes, strict=True))
    files, rows = (np.concatenate(parts) for parts in zip(*places, strict=True))
    return Events(
        Coded(user_codes, users.ids()),
        Coded(item_codes, items.ids()),
        np.concatenate(micros) if reader.source.time else None,
        joined(features, reader.place),
        files,
        rows,
    )


def sound_events(reader: SourceReader, limit: int | None = None) -> Iterator[SoundEvents]:
    """The log, some rows at a time; see `collect_events`.

    Raises:
      UserError: a file cannot be read.
    """
    return (_sound(reader, part) for part in reader.parts(limit))


def time_order(micros: np.ndarray | None, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of `count` events by time, and their seconds; without times, as they are."""
    if micros is None:
        everything = np.arange(count)
        return everything, everything
    order = np.argsort(micros, kind="stable")
    return order, micros[order] // MICROS


def refuse_nothing(reader: SourceReader) -> NoReturn:
    """Says why no event of a log is left.

    Raises:
      UserError: always.
    """
    reader.report.require_sound()
    left_out = reader.report.left_out.get(reader.place, 0)
    raise UserError(
        f"{reader.place}: no event in {', '.join(reader.source.files)}: {reader.report.rows[reader.place]:,} rows, of"
        f" which {left_out:,} do not count (`event.types`, `weight`, `min_weight`)"
    )


def _sound(reader: SourceReader, part: Part) -> SoundEvents:
    source: InteractionSource = reader.source
    part, weights = _counting(reader, part)
    users, items = (id_column(reader, part, name) for name in (source.user, source.item))
    needed, micros = [users, items], None
    if source.time:
        converted = times(reader.plain(part, source.time.column), source.time)
        micros = reader.checked(part, source.time.column, converted, "time", needed=True)
        needed.append(micros)
    if source.weight:
        own = reader.checked(part, source.weight, numbers(reader.plain(part, source.weight)), "weight", needed=True)
        needed.append(own)
        weights = own if weights is None else pc.multiply(weights, own)
    sound = np.logical_and.reduce([np.asarray(column.is_valid()) for column in needed])
    reader.report.bad_rows[reader.place] += int((~sound).sum())
    chosen = sound if weights is None else sound & _heavy(weights, source.min_weight)
    reader.report.leave_out(reader.place, int((sound & ~chosen).sum()))
    features = reader.features(part)
    if weights is not None:
        features.setdefault(WEIGHT, weights.cast(pa.float32()))
    mask = pa.array(chosen)
    return SoundEvents(
        part.file,
        users.filter(mask),
        items.filter(mask),
        None if micros is None else micros.filter(mask),
        {name: column.filter(mask) for name, column in features.items()},
        part.rows.numbers[chosen],
    )


def _heavy(weights: pa.Array, least: float) -> np.ndarray:
    found = np.asarray(weights.fill_null(0.0))
    return (found > 0) & (found >= least)


def _counting(reader: SourceReader, part: Part) -> tuple[Part, pa.Array | None]:
    """The rows whose type of event counts, and the weights of these types; None where there are no types.

    Nothing else is asked of other rows: an event such as a logout need not have an item.
    """
    event = reader.source.event
    if not event:
        return part, None
    types = reader.checked(part, event.column, identifiers(reader.plain(part, event.column)), "id", needed=True)
    if event.types:
        places = pc.index_in(types, pa.array(list(event.types), pa.string()))
        weights = pa.array(list(event.types.values()), pa.float64()).take(places)
    else:
        weights = pc.if_else(types.is_valid(), pa.scalar(1.0), pa.scalar(None, pa.float64()))
    counts = weights.is_valid()
    reader.report.bad_rows[reader.place] += types.null_count
    reader.report.leave_out(reader.place, weights.null_count - types.null_count)
    return part._replace(rows=part.rows.only(counts)), weights.filter(counts)
