"""A mix of realistic requests, drawn from an exported model."""

from __future__ import annotations

import dataclasses
import pathlib
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq

from protos.errors import UserError
from serving.client import Query
from serving.recorded import recorded_query

_MAX_QUERIES = 10_000
_KS = (10, 50, 100, 200)
_MOST_EXCLUDED = 20


@dataclasses.dataclass(frozen=True)
class Mix:
    """What users ask.

    Attributes:
      batch_sizes: queries a request, and how often that many.
      filtered_share: of the queries, with a k, excluded items and often a category allowed or denied.
      new_user_share: of the queries, without a history.
      unknown_item_share: of the queries, with an item that the model does not know.
      seed: the same seed draws the same requests.
    """

    batch_sizes: Mapping[int, float] = dataclasses.field(default_factory=lambda: {1: 0.9, 8: 0.08, 32: 0.02})
    filtered_share: float = 0.3
    new_user_share: float = 0.02
    unknown_item_share: float = 0.02
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Users:
    """Who may ask, and what they may ask for.

    Attributes:
      queries: real histories, with their features.
      item_ids: of the catalogue.
      categories: of its items; none where there is no such column.
    """

    queries: Sequence[Query]
    item_ids: Sequence[str]
    categories: Sequence[str]


def read_users(export: pathlib.Path, category_column: str) -> Users:
    """The queries and items of `run/export`.

    Raises:
      UserError: it is no export, or has no queries.
    """
    rows = _table(export / "queries.parquet").slice(0, _MAX_QUERIES).to_pylist()
    if not rows:
        raise UserError(f"{export / 'queries.parquet'} has no queries; expected at least one, to ask them again")
    items = _table(export / "items.parquet")
    column = items[category_column].to_pylist() if category_column in items.column_names else []
    categories = {name for value in column for name in (value if isinstance(value, list) else [value]) if name}
    return Users([recorded_query(row) for row in rows], items["item_id"].to_pylist(), sorted(categories))


def _table(path: pathlib.Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path} is not there; expected the directory of an exported model, such as run/export")
    return pq.read_table(path)


def draw(users: Users, mix: Mix) -> Iterator[list[Query]]:
    """Requests without end, each a batch of queries."""
    rng = random.Random(mix.seed)
    sizes, shares = list(mix.batch_sizes), list(mix.batch_sizes.values())
    while True:
        yield [_draw_query(users, mix, rng) for _ in range(rng.choices(sizes, shares)[0])]


def _draw_query(users: Users, mix: Mix, rng: random.Random) -> Query:
    query = Query() if rng.random() < mix.new_user_share else rng.choice(users.queries)
    if query.history and rng.random() < mix.unknown_item_share:
        place = rng.randrange(len(query.history))
        query = dataclasses.replace(query, history=[*query.history[:place], "?", *query.history[place + 1 :]])
    return _filtered(query, users, rng) if rng.random() < mix.filtered_share else query


def _filtered(query: Query, users: Users, rng: random.Random) -> Query:
    excluded = rng.sample(users.item_ids, rng.randint(0, min(_MOST_EXCLUDED, len(users.item_ids))))
    allowed, denied = rng.choice(((0, 0), (1, 0), (2, 0), (0, 1), (0, 2)))
    return dataclasses.replace(
        query,
        k=rng.choice(_KS),
        exclude_ids=excluded,
        allow_categories=rng.sample(users.categories, min(allowed, len(users.categories))),
        deny_categories=rng.sample(users.categories, min(denied, len(users.categories))),
        include_seen=rng.random() < 0.1,
    )
