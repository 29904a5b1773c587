"""A sample of real queries: what an index is measured by."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_index.parquet import is_list_of, open_parquet
from protos.errors import UserError

HISTORY, RELEVANT = "history", "relevant"
_CURE = "expected the queries.parquet of an export, or a file like it"


class Sample(NamedTuple):
    """Queries of the export, public item ids.

    Attributes:
      histories: of each query, oldest first.
      relevant: of each query, the items that came next; none where that is not known. "" is an item outside the
        catalogue: a target that nothing can hit.
      asked: queries of the file, of which these are a sample.
    """

    histories: list[list[str]]
    relevant: list[list[str]]
    asked: int

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


def read_sample(path: pathlib.Path, limit: int) -> Sample:
    """Reads up to `limit` queries, the same ones each time.

    Queries with targets come first, since they say most; each kind is taken at even distances, so that a file
    sorted by user gives queries of all of it.

    Args:
      path: parquet file with a column `history` and, in newer exports, `relevant`, both list<string>.
      limit: most queries.

    Raises:
      UserError: the file is missing or has no such columns.
    """
    with _open(path) as file:
        columns = _columns(path, file.schema_arrow)
        table = file.read(columns=columns)
    has_targets = np.zeros(table.num_rows, bool)
    if RELEVANT in columns:
        has_targets = np.array(table[RELEVANT].combine_chunks().value_lengths().fill_null(0)) > 0
    chosen = choose(has_targets, limit)
    found = table.take(pa.array(chosen))
    relevant = _strings(found[RELEVANT]) if RELEVANT in columns else [[] for _ in chosen]
    return Sample(_strings(found[HISTORY]), relevant, table.num_rows)


def require_queries(path: pathlib.Path) -> None:
    """Raises UserError where `read_sample` would: before the work that would be lost with it."""
    with _open(path) as file:
        _columns(path, file.schema_arrow)


def choose(has_targets: np.ndarray, limit: int) -> np.ndarray:
    """Positions of the sample, ascending: `limit` of them at most, those with targets before others."""
    judging = _evenly(np.flatnonzero(has_targets), limit)
    others = _evenly(np.flatnonzero(~has_targets), limit - len(judging))
    return np.sort(np.concatenate([judging, others]))


def _evenly(positions: np.ndarray, limit: int) -> np.ndarray:
    count = min(limit, len(positions))
    return positions[np.arange(count) * len(positions) // max(count, 1)]


def _where(path: pathlib.Path) -> str:
    return f"queries file {path} (--queries)"


def _open(path: pathlib.Path) -> pq.ParquetFile:
    return open_parquet(path, _where(path), _CURE)


def _columns(path: pathlib.Path, schema: pa.Schema) -> list[str]:
    if HISTORY not in schema.names:
        raise UserError(f"{_where(path)} has the columns {schema.names}; expected a column {HISTORY!r}; {_CURE}")
    columns = [name for name in (HISTORY, RELEVANT) if name in schema.names]
    for name in columns:
        kind = schema.field(name).type
        if not is_list_of(kind, pa.string()):
            raise UserError(f"{_where(path)}: column {name!r} is {kind}; expected list<string>; {_CURE}")
    return columns


def _strings(column: pa.ChunkedArray) -> list[list[str]]:
    """Lists of ids; a null list is an empty one, and a null id none."""
    return [[item or "" for item in items or ()] for items in column.to_pylist()]
