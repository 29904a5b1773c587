"""Gathers a table of items or users, by id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data.schema.columns import concatenated, id_column, joined
from trainer.data.schema.reading import Part, SourceReader
from trainer.data.schema.spec import Table
from trainer.data.schema.values import identifiers


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
    for part, part_ids, part_features in table_rows(reader):
        part_titles = _titles(reader, part)
        chosen = np.asarray(part_ids.is_valid() if wanted is None else pc.is_in(part_ids, wanted, skip_nulls=True))
        fresh = np.array(list(_fresh(part_ids, chosen, part, seen, repeated)), np.int64)
        ids.append(part_ids.take(pa.array(fresh)))
        titles.append(part_titles.take(pa.array(fresh)))
        features.append({name: column.take(pa.array(fresh)) for name, column in part_features.items()})
        places.append((np.full(len(fresh), part.file, np.int32), part.rows.numbers[fresh]))
    files, rows = (np.concatenate(parts) for parts in zip(*places, strict=True)) if places else ([], [])
    return Described(
        concatenated(ids, pa.string(), f"{reader.place}.{table.id}"),
        concatenated(titles, pa.string(), f"{reader.place}.{table.title}") if table.title else None,
        joined(features, reader.place),
        *(np.array(files), np.array(rows), repeated),
    )


def table_rows(reader: SourceReader) -> Iterator[tuple[Part, pa.Array, dict[str, pa.Array]]]:
    """The rows of a table, some at a time, with their ids and features; rows without an id, null, are reported.

    Raises:
      UserError: a file cannot be read.
    """
    for part in reader.parts():
        ids = id_column(reader, part, reader.source.id)
        reader.report.bad_rows[reader.place] += ids.null_count
        yield part, ids, reader.features(part)


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
