"""Sample queries of an export: histories, what they bring beside them, and what they are judged by."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from protos.query_inputs import HISTORY, RELEVANT, QueryInput
from trainer.data.features import NO_COLUMNS, Columns, FeatureColumns
from trainer.data.histories import Histories
from trainer.features.fitted import missing_column
from trainer.features.raw import ARROW_TYPES, checked

# Queries of a row group where they bring more than a history, which may be much; readers hold one group at a time.
_QUERIES_A_GROUP = 16_384
# Stands for a target outside the catalogue, which has no id here: it counts as a target that every answer misses.
_UNKNOWN_ID = ""


class SampleQueries(NamedTuple):
    """Queries whose codes an index of observed codes covers.

    Attributes:
      histories: rows, oldest first; `Histories` where more is known of events and users.
      relevant: for each query the rows that came next, by which an index is judged, -1 for items outside the
        catalogue; none for queries that judge nothing. None: no query judges.
      columns: of the data, to which the keys of `histories` lead.
    """

    histories: Sequence[np.ndarray] | Histories
    relevant: Sequence[np.ndarray] | None = None
    columns: FeatureColumns = NO_COLUMNS


def write_queries(path: pathlib.Path, queries: SampleQueries, ids: Sequence[str], inputs: Sequence[QueryInput]) -> None:
    """Writes one row a query: history and relevant, lists of item ids, and a column an input (protos/query_inputs.py).

    Args:
      path: of the parquet file.
      queries: to write.
      ids: public id of each row of the catalogue.
      inputs: what queries bring beside their histories.
    """
    count = len(queries.histories)
    if queries.relevant is not None and len(queries.relevant) != count:
        raise ValueError(f"there are {count} queries and targets of {len(queries.relevant)}; expected one each")
    size = _QUERIES_A_GROUP if inputs else max(count, 1)
    tables = (_table(queries, slice(start, start + size), ids, inputs) for start in range(0, max(count, 1), size))
    _write(path, tables)


def _write(path: pathlib.Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _table(queries: SampleQueries, part: slice, ids: Sequence[str], inputs: Sequence[QueryInput]) -> pa.Table:
    histories = queries.histories[part]
    relevant = [()] * len(histories) if queries.relevant is None else queries.relevant[part]
    columns = {
        HISTORY: [[ids[row] for row in rows] for rows in histories],
        RELEVANT: [[ids[row] if row >= 0 else _UNKNOWN_ID for row in rows] for rows in relevant],
    }
    arrays = {name: pa.array(values, pa.list_(pa.string())) for name, values in columns.items()}
    return pa.table(arrays | feature_columns(inputs, histories, queries.columns))


def feature_columns(
    inputs: Sequence[QueryInput], histories: Sequence[np.ndarray], columns: FeatureColumns
) -> Mapping[str, pa.Array]:
    """What Q queries bring beside their histories: a column of Q entries an input, of the types of queries.parquet.

    Args:
      inputs: what to bring.
      histories: `Histories`, or such of which nothing else is known.
      columns: of the data.

    Raises:
      UserError: the data lacks a column, or it is not of its kind.
    """
    known = histories if isinstance(histories, Histories) else Histories.of(histories)
    return {
        each.name: _of_events(each, known.events, columns.events)
        if each.of_event
        else _taken(each, known.users, columns.users)
        for each in inputs
    }


def _of_events(each: QueryInput, events: Sequence[np.ndarray], columns: Columns) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(keys) for keys in events])])
    keys = np.concatenate([np.zeros(0, np.int64), *events])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), _taken(each, keys, columns))


def _taken(each: QueryInput, keys: np.ndarray, columns: Columns) -> pa.Array:
    """Entries of a column of the data, null for key -1."""
    unknown, place = keys < 0, f"{each.place}s"
    if unknown.all():
        return pa.nulls(len(keys), ARROW_TYPES[each.kind])
    if each.name not in columns:
        raise missing_column(each.name, place, columns)
    return checked(columns[each.name].take(pa.array(keys, pa.int64(), mask=unknown)), each, place)
