"""Looks for bad records before the work starts that would be lost with them, and accounts for all at the end."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq

from beam_index.dead_letters import DeadLetter, Source, Tally, require_few
from beam_index.files import lost_records
from beam_index.geometry import tile_span
from beam_index.plan import Plan
from beam_index.query_faults import bad_queries
from beam_index.ready_checks import CURE
from beam_index.scoring import shared_scorer
from protos.errors import UserError

KIND = "item"


def without_bad_items(plan: Plan, max_bad_share: float) -> Plan:
    """The plan with its bad items removed: what the scorer makes of them alone is not finite, so no score can be.

    All tiles are looked at here, once, before work is cut: however it is spread, each piece leaves out the same.

    Raises:
      UserError: more than `max_bad_share` of the items are bad, or all; or the catalogue has not all rows.
    """
    _require_catalogue(plan)
    letters = _named(plan, [*_bad_items(plan)])
    source = Source(f"catalogue {_items_file(plan)}", f"look for weights that diverged in training, and {CURE}")
    require_few(letters, plan.num_items - len(plan.removed), max_bad_share, source)
    rows = np.array([letter.row for letter in letters], np.int32)
    return dataclasses.replace(plan, removed=np.union1d(plan.removed, rows), bad_items=tuple(letters))


def screen_queries(plan: Plan, max_bad_share: float) -> list[DeadLetter]:
    """The bad ones of the queries whose codes are observed.

    Raises:
      UserError: more than `max_bad_share` of them are bad, or all.
    """
    if plan.queries is None:
        return []
    letters = list(bad_queries(plan.queries, plan.inputs))
    source = Source(f"queries file {plan.queries} (--queries)", "mend them, or raise --max_bad_share")
    require_few(letters, _rows(plan.queries), max_bad_share, source)
    return letters


def tally(plan: Plan, ready_lists: int, queries: int, bad: int) -> dict[str, dict[str, int]]:
    """Holds what came in against what was used; by kind.

    Args:
      plan: of the build.
      ready_lists: that the files of the index hold.
      queries: that the workers have encoded.
      bad: queries left out.

    Raises:
      UserError: a record is missing.
    """
    removed = len(plan.removed) - len(plan.bad_items)
    items = Tally(_rows(_items_file(plan)), plan.num_items - len(plan.removed), len(plan.bad_items), removed)
    lists = Tally(_rows(os.path.join(plan.model, "lists.parquet")), ready_lists, len(plan.bad_lists))
    tallies = {"items": items, "ready_lists": lists}
    if plan.queries is not None:
        tallies["queries"] = Tally(_rows(plan.queries), queries, bad)
    for name, found in tallies.items():
        if not found.adds_up:
            raise lost_records(f"of {found.found:,} {name}, {found.used:,} were used and {found.bad:,} are bad")
    return {name: found.as_json() for name, found in tallies.items()}


def _bad_items(plan: Plan) -> Iterator[tuple[int, float]]:
    """(row, what is not finite) of items that are not removed anyway."""
    scorer = shared_scorer(plan)
    if not scorer.has_stages:  # then only scores tell, see Scorer.require_finite
        return
    for tile in range(plan.num_tiles):
        span = tile_span(tile, plan.num_items)
        parts = [part[: span.width].reshape(span.width, -1) for part in scorer.item_parts(tile)]
        bad = np.any([~np.isfinite(part).all(axis=1) for part in parts], axis=0)
        bad[plan.removed_in(span)] = False
        for at in np.flatnonzero(bad):
            values = np.concatenate([part[at] for part in parts])
            yield span.start + int(at), float(values[~np.isfinite(values)][0])


def _named(plan: Plan, found: list[tuple[int, float]]) -> list[DeadLetter]:
    if not found:
        return []
    ids = pq.read_table(_items_file(plan), columns=["item_id"])["item_id"]
    return [
        DeadLetter(
            KIND,
            row,
            ids[row].as_py(),
            f"the scorer makes {value} of item {ids[row].as_py()!r}; expected finite numbers",
        )
        for row, value in found
    ]


def _require_catalogue(plan: Plan) -> None:
    """Raises UserError unless the catalogue has as many rows as the model has items."""
    found = _rows(_items_file(plan))
    if found != plan.num_items:
        raise UserError(f"catalogue {_items_file(plan)} has {found:,} rows, the model {plan.num_items:,} items; {CURE}")


def _items_file(plan: Plan) -> pathlib.Path:
    return pathlib.Path(plan.model) / "items.parquet"


def _rows(path: str | os.PathLike[str]) -> int:
    return pq.read_metadata(path).num_rows
