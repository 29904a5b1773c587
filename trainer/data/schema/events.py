"""Gathers the log: sound events, as numbers of users and items."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from protos.errors import UserError
from trainer.data.interactions import Coded
from trainer.data.schema.columns import id_column, joined
from trainer.data.schema.reading import Part, SourceReader
from trainer.data.schema.spec import InteractionSource
from trainer.data.schema.values import numbers, times

WEIGHT = "weight"


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


class _Vocabulary:
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


class _Kept(NamedTuple):
    """The sound events of some rows."""

    users: pa.Array
    items: pa.Array
    micros: pa.Array | None
    features: dict[str, pa.Array]
    chosen: np.ndarray


def collect_events(reader: SourceReader, limit: int | None = None) -> Events:
    """Reads the log; rows that lack what every event has are reported, those of no weight are counted.

    Raises:
      UserError: a file cannot be read, or nothing is left.
    """
    users, items = _Vocabulary(), _Vocabulary()
    codes, micros, features, places = [], [], [], []
    for part in reader.parts(limit):
        kept = _sound(reader, part)
        codes.append((users.encode(kept.users), items.encode(kept.items)))
        micros.append(np.asarray(kept.micros) if kept.micros is not None else np.zeros(0, np.int64))
        features.append(kept.features)
        places.append((np.full(len(kept.chosen), part.file, np.int32), part.rows.numbers[kept.chosen]))
    if not sum(len(one) for one, _ in codes):
        _refuse_nothing(reader)
    user_codes, item_codes = (np.concatenate(parts) for parts in zip(*codes, strict=True))
    files, rows = (np.concatenate(parts) for parts in zip(*places, strict=True))
    return Events(
        Coded(user_codes, users.ids()),
        Coded(item_codes, items.ids()),
        np.concatenate(micros) if reader.source.time else None,
        joined(features),
        files,
        rows,
    )


def _refuse_nothing(reader: SourceReader) -> None:
    reader.report.require_sound()
    left_out = reader.report.left_out.get(reader.place, 0)
    raise UserError(
        f"{reader.place}: no event in {', '.join(reader.source.files)}: {reader.report.rows[reader.place]:,} rows, of"
        f" which {left_out:,} weigh too little (`event.types`, `min_weight`)"
    )


def _sound(reader: SourceReader, part: Part) -> _Kept:
    source: InteractionSource = reader.source
    users, items = (id_column(reader, part, name) for name in (source.user, source.item))
    micros = None
    needed = [users, items]
    if source.time:
        converted = times(reader.plain(part, source.time.column), source.time)
        micros = reader.checked(part, source.time.column, converted, "time", needed=True)
        needed.append(micros)
    weights = _weights(reader, part)
    if weights is not None:
        needed.append(weights)
    sound = np.logical_and.reduce([np.asarray(column.is_valid()) for column in needed])
    reader.report.bad_rows[reader.place] += int((~sound).sum())
    heavy = sound if weights is None else sound & (np.asarray(weights.fill_null(-np.inf)) >= _least(source))
    left_out = reader.report.left_out
    left_out[reader.place] = left_out.get(reader.place, 0) + int((sound & ~heavy).sum())
    features = reader.features(part)
    if weights is not None:
        features.setdefault(WEIGHT, weights.cast(pa.float32()))
    mask = pa.array(heavy)
    return _Kept(
        users.filter(mask),
        items.filter(mask),
        None if micros is None else micros.filter(mask),
        {name: column.filter(mask) for name, column in features.items()},
        np.flatnonzero(heavy),
    )


def _least(source: InteractionSource) -> float:
    """A type that does not count weighs minus infinity."""
    return max(source.min_weight, np.finfo(np.float64).min)


def _weights(reader: SourceReader, part: Part) -> pa.Array | None:
    """Weight of the type times that of the row; None where the source says neither."""
    source: InteractionSource = reader.source
    weights = None
    if source.event:
        types = id_column(reader, part, source.event.column)
        weights = _of_types(types, source.event.types)
    if source.weight:
        converted = numbers(reader.plain(part, source.weight))
        own = reader.checked(part, source.weight, converted, "weight", needed=True)
        weights = own if weights is None else _product(weights, own)
    return weights


def _product(types: pa.Array, own: pa.Array) -> pa.Array:
    """Of a type that does not count no weight makes something."""
    counts = pc.greater(types, -np.inf)
    return pc.if_else(counts, pc.multiply(types, own), pc.if_else(own.is_valid(), types, own))


def _of_types(types: pa.Array, weights: dict[str, float]) -> pa.Array:
    if not weights:
        return pc.if_else(types.is_valid(), pa.scalar(1.0), pa.scalar(None, pa.float64()))
    places = pc.index_in(types, pa.array(list(weights), pa.string()))
    found = pa.array(list(weights.values()), pa.float64()).take(places)
    return pc.if_else(types.is_valid(), found.fill_null(-np.inf), pa.scalar(None, pa.float64()))
