"""Gathers a source whole: events as numbers of users and items, tables by id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from protos.errors import UserError
from trainer.data.interactions import Coded
from trainer.data.schema.reading import Part, SourceReader
from trainer.data.schema.spec import InteractionSource, Table
from trainer.data.schema.values import identifiers, numbers, times

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


class Described(NamedTuple):
    """A table, its first row of each id.

    Attributes:
      ids: `[N]` text.
      titles: `[N]` text, null where there is none; None where the table has no titles.
      features: columns by name.
      files: `[N]` places in the reader's files.
      rows: `[N]` rows of these.
      repeated: places (file, row) of the rows whose id was there before.
    """

    ids: pa.Array
    titles: pa.Array | None
    features: dict[str, pa.Array]
    files: np.ndarray
    rows: np.ndarray
    repeated: list[tuple[int, int]]


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
        _joined(features),
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
    users, items = (_ids(reader, part, name) for name in (source.user, source.item))
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


def _ids(reader: SourceReader, part: Part, name: str) -> pa.Array:
    converted = identifiers(reader.plain(part, name))
    return reader.checked(part, name, converted, "id", needed=True)


def _weights(reader: SourceReader, part: Part) -> pa.Array | None:
    """Weight of the type times that of the row; None where the source says neither."""
    source: InteractionSource = reader.source
    weights = None
    if source.event:
        types = _ids(reader, part, source.event.column)
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


def collect_table(reader: SourceReader, known: Sequence[str] | None = None) -> Described:
    """Reads a table; rows without an id are reported.

    Args:
      reader: of its source.
      known: only rows of these ids are kept; None for all.

    Raises:
      UserError: a file cannot be read.
    """
    table: Table = reader.source
    seen: set[str] = set()
    repeated: list[tuple[int, int]] = []
    wanted = None if known is None else pa.array(known, pa.string())
    ids, titles, features, places = [], [], [], []
    for part in reader.parts():
        part_ids = _ids(reader, part, table.id)
        reader.report.bad_rows[reader.place] += part_ids.null_count
        part_features = reader.features(part)
        part_titles = _titles(reader, part)
        chosen = np.asarray(part_ids.is_valid() if wanted is None else pc.is_in(part_ids, wanted, skip_nulls=True))
        fresh = np.array(list(_fresh(part_ids, chosen, part, seen, repeated)), np.int64)
        ids.append(part_ids.take(pa.array(fresh)))
        titles.append(part_titles.take(pa.array(fresh)))
        features.append({name: column.take(pa.array(fresh)) for name, column in part_features.items()})
        places.append((np.full(len(fresh), part.file, np.int32), part.rows.numbers[fresh]))
    files, rows = (np.concatenate(parts) for parts in zip(*places, strict=True)) if places else ([], [])
    return Described(
        _concatenated(ids, pa.string()),
        _concatenated(titles, pa.string()) if table.title else None,
        _joined(features),
        *(np.array(files), np.array(rows), repeated),
    )


def _fresh(
    ids: pa.Array, chosen: np.ndarray, part: Part, seen: set[str], repeated: list[tuple[int, int]]
) -> Iterator[int]:
    """Places of the ids that were not there before."""
    places = np.flatnonzero(chosen)
    for place, each in zip(places.tolist(), ids.take(pa.array(places)).to_pylist(), strict=True):
        if each in seen:
            repeated.append((part.file, int(part.rows.numbers[place])))
        else:
            seen.add(each)
            yield place


def _titles(reader: SourceReader, part: Part) -> pa.Array:
    title = reader.source.title
    if not title:
        return pa.nulls(len(part.rows.numbers), pa.string())
    return reader.checked(part, title, identifiers(reader.plain(part, title)), "text", needed=False)


def _joined(parts: Sequence[dict[str, pa.Array]]) -> dict[str, pa.Array]:
    return (
        {name: _concatenated([part[name] for part in parts], parts[0][name].type) for name in parts[0]} if parts else {}
    )


def _concatenated(arrays: Sequence[pa.Array], kind: pa.DataType) -> pa.Array:
    return pa.concat_arrays(arrays) if arrays else pa.array([], kind)
