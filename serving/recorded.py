"""Queries that were recorded: an export's queries.parquet, or JSON as the client's command takes it."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from protos.errors import UserError
from serving.client.json_input import read_queries
from serving.client.queries import Query

_PARQUET = ".parquet"


def read_recorded(path: pathlib.Path, most: int) -> list[Query]:
    """The queries of a file, of more than `most` as many as that, evenly spread over it.

    Parquet needs pyarrow; JSON needs nothing but the client.

    Raises:
      UserError: the file cannot be read, is neither, or has no query.
    """
    queries = _parquet(path) if path.suffix == _PARQUET else _json(path)
    if not queries:
        raise UserError(f"--queries {path} has no queries; expected at least one")
    count = min(most, len(queries))
    return [queries[place * len(queries) // count] for place in range(count)]


def recorded_query(row: Mapping[str, Any]) -> Query:
    """A row of an export's queries: its history; its targets, which are not asked; the rest are its features."""
    features = {name: value for name, value in row.items() if name not in ("history", "relevant")}
    return Query(row["history"] or [], features=features)


def _json(path: pathlib.Path) -> Sequence[Query]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"--queries {path}: {reason}; expected an export's queries.parquet, or a file of JSON with an object a line"
        ) from error
    return [query for _, query in read_queries(text, f"--queries {path}")]


def _parquet(path: pathlib.Path) -> Sequence[Query]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(
            f"--queries {path} needs pyarrow, which is not installed; python -m pipeline.recorded writes it as JSON"
        ) from error
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"--queries {path}: {error}; expected the queries.parquet of an exported model") from error
    if "history" not in table.column_names:
        raise UserError(f"--queries {path} has no column history, only {', '.join(table.column_names)}")
    return [recorded_query(row) for row in table.to_pylist()]
