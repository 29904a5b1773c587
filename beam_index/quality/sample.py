"""A sample of real queries: what an index is measured by."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_index.query_columns import column_names, open_queries, typed
from beam_index.query_encoder import Queries
from beam_index.query_faults import sound_features
from protos.query_inputs import HISTORY, RELEVANT, QueryInput

_CURE = "expected the queries.parquet of an export, or a file like it"


class Sample(NamedTuple):
    """Queries of the export, public item ids.

    Attributes:
      queries: their histories, oldest first, and what they bring beside them.
      relevant: of each query, the items that came next; none where that is not known. "" is an item outside the
        catalogue: a target that nothing can hit.
      asked: queries of the file, of which these are a sample.
    """

    queries: Queries
    relevant: list[list[str]]
    asked: int

    @property
    def histories(self) -> list[list[str]]:
        """Of each query, public item ids, oldest first."""
        return self.queries[HISTORY]

    def __len__(self) -> int:
        return len(self.histories)


class Catalogue:
    """The rows of public item ids."""

    def __init__(self, item_ids: Sequence[str]) -> None:
        self._rows = {item: row for row, item in enumerate(item_ids)}

    def rows(self, lists: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Catalogue rows of lists of ids: int64 arrays, -1 where the id is unknown."""
        return [np.array([self._rows.get(item, -1) for item in items], np.int64) for items in lists]


def read_catalogue(model: pathlib.Path) -> Catalogue:
    """The catalogue of an export."""
    return Catalogue(pq.read_table(model / "items.parquet", columns=["item_id"])["item_id"].to_pylist())


def read_sample(path: pathlib.Path, limit: int, inputs: Sequence[QueryInput] = ()) -> Sample:
    """Reads up to `limit` queries, the same ones each time.

    Queries with targets come first, since they say most; each kind is taken at even distances, so that a file
    sorted by user gives queries of all of it. Of those taken, the ones that bring what contradicts its contract
    are left out.

    Args:
      path: parquet file with a column `history`, a column for each input, and in newer exports `relevant`.
      limit: most queries.
      inputs: what queries bring beside their histories.

    Raises:
      UserError: the file is missing or has no such columns.
    """
    with open_queries(path, inputs, _CURE) as file:
        names, judging = column_names(inputs), RELEVANT in file.schema_arrow.names
        has_targets = np.zeros(file.metadata.num_rows, bool)
        if judging:
            targets = file.read(columns=[RELEVANT])[RELEVANT].combine_chunks()
            has_targets = np.array(targets.value_lengths().fill_null(0)) > 0
        found = _rows(file, choose(has_targets, limit), [*names, RELEVANT] if judging else names)
    found = found.filter(pa.array(sound_features(found, inputs)))
    features = {each.name: typed(found[each.name], each).to_pylist() for each in inputs}
    relevant = _strings(found[RELEVANT]) if judging else [[] for _ in range(len(found))]
    return Sample({HISTORY: _strings(found[HISTORY]), **features}, relevant, len(has_targets))


def require_queries(path: pathlib.Path, inputs: Sequence[QueryInput]) -> None:
    """Raises UserError where `read_sample` would: before the work that would be lost with it."""
    open_queries(path, inputs, _CURE).close()


def choose(has_targets: np.ndarray, limit: int) -> np.ndarray:
    """Positions of the sample, ascending: `limit` of them at most, those with targets before others."""
    judging = _evenly(np.flatnonzero(has_targets), limit)
    others = _evenly(np.flatnonzero(~has_targets), limit - len(judging))
    return np.sort(np.concatenate([judging, others]))


def _evenly(positions: np.ndarray, limit: int) -> np.ndarray:
    count = min(limit, len(positions))
    return positions[np.arange(count) * len(positions) // max(count, 1)]


def _rows(file: pq.ParquetFile, rows: np.ndarray, columns: list[str]) -> pa.Table:
    """Some rows, ascending, of which no more than a row group is held besides."""
    parts, first = [file.schema_arrow.empty_table().select(columns)], 0
    for group in range(file.num_row_groups):
        stop = first + file.metadata.row_group(group).num_rows
        here = rows[(rows >= first) & (rows < stop)] - first
        if len(here):
            parts.append(file.read_row_group(group, columns).take(pa.array(here)))
        first = stop
    return pa.concat_tables(parts)


def _strings(column: pa.ChunkedArray) -> list[list[str]]:
    """Lists of ids; a null list is an empty one, and a null id none."""
    return [[item or "" for item in items or ()] for items in column.to_pylist()]
