"""A schema file to interactions."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from protos.errors import UserError
from trainer.data import interactions as table
from trainer.data.interactions import Interactions, Items, ItemText, build_interactions
from trainer.data.schema.events import Events, collect_events, time_order
from trainer.data.schema.judge import judge_rows, judge_times
from trainer.data.schema.reading import SourceReader
from trainer.data.schema.report import Report
from trainer.data.schema.schema_file import read_schema
from trainer.data.schema.spec import Schema, Table
from trainer.data.schema.tables import Described, collect_table

_LOG = logging.getLogger(__name__)
MANY_ABSENT = 0.1  # a table that lacks a larger share of what the log has may be of other ids
_GENRES, _TITLE = "genres", "title"


def load_schema(path: str | os.PathLike[str]) -> Interactions:
    """Reads the interactions of a schema file, with the features that it declares (`Interactions.declared`).

    Shards are read one after the other, a batch of rows at a time; beside that memory holds what `Interactions`
    does. Events of one time stay in the order of files and rows; those of one second are put in the order of its
    fractions. Rows without user, item, time or weight are left out with a warning, up to the schema's
    `max_bad_share` of all rows. Weights decide which events count (`min_weight`), which then count alike; they are
    an event column, `weight`, that can be declared as a feature.

    Raises:
      UserError: the schema is wrong, a file or column is not there, or more rows are bad than may be.
    """
    schema = read_schema(path)
    report = Report(schema.max_bad_share, stop_at_once=True)
    log = SourceReader("interactions", schema.interactions, report)
    events = collect_events(log)
    judge_times(events, log, "warning")
    items = read_table("items", schema.items, events.items.ids, report)
    users = read_table("users", schema.users, events.users.ids, report)
    for warning in report.require_sound():
        _LOG.warning("%s", warning)
    return _built(schema, events, items, users)


def read_table(place: str, source: Table | None, known: Sequence[str], report: Report) -> Described | None:
    """The rows of a table of `items` or `users` whose ids are known; None where the schema has no such table.

    Raises:
      UserError: it cannot be read, or has no row.
    """
    if source is None:
        return None
    reader = SourceReader(place, source, report)
    described = collect_table(reader, known)
    if not report.rows[place]:
        refuse_empty(reader)
    judge_rows(described, reader, known, MANY_ABSENT)
    return described


def refuse_empty(reader: SourceReader) -> NoReturn:
    """Says that a table has no row.

    Raises:
      UserError: always.
    """
    place = reader.place
    raise UserError(
        f"{place}: no row in {', '.join(reader.source.files)}; name files that have some, or leave {place} out"
    )


def _built(schema: Schema, events: Events, items: Described | None, users: Described | None) -> Interactions:
    order, times = time_order(events.micros, len(events.rows))
    features = {name: column.take(pa.array(order)) for name, column in events.features.items()}
    log = table.Events(
        events.users._replace(codes=events.users.codes[order]),
        events.items._replace(codes=events.items.codes[order]),
        times,
        features=features,
    )
    made = build_interactions(schema.name, log, {})
    made = dataclasses.replace(made, catalogue=described_items(schema.items, items, made.catalogue.item_id))
    user_features = {} if users is None else _aligned(users, users.features, made.user_ids)
    return dataclasses.replace(made, user_features=user_features, declared=schema.declared)


def described_items(source: Table | None, items: Described | None, ids: tuple[str, ...]) -> Items:
    """The catalogue of these ids, with what a table says of them; `source` is what the schema says of the table."""
    title = _title(source)
    texts = _texts(items, title)
    known = [texts.get(item, ItemText(item, ())) for item in ids]
    further = {}
    if items is not None:
        own_place = [name for name, column in items.features.items() if name == title or _is_genres(name, column)]
        further = {name: column for name, column in items.features.items() if name not in own_place}
        further = _aligned(items, further, ids)
    return Items(ids, tuple(text.title for text in known), tuple(text.genres for text in known), further)


def _is_genres(name: str, column: pa.Array) -> bool:
    """The one multi-valued column that a catalogue has a place of its own for."""
    return name == _GENRES and pa.types.is_list(column.type) and pa.types.is_string(column.type.value_type)


def _title(source: Table | None) -> str | None:
    """The feature `title`, if titles are what it holds."""
    features = source.features if source else ()
    found = [feature for feature in features if feature.name == _TITLE and feature.kind in ("text", "category")]
    return _TITLE if found and source.title in ("", found[0].source) else None


def _texts(items: Described | None, title: str | None) -> dict[str, ItemText]:
    """Titles, of a feature where no column is named for them, and genres, by item id."""
    if items is None:
        return {}
    titles = items.titles if items.titles is not None else items.features.get(title)
    genres = items.features.get(_GENRES)
    if genres is not None and not _is_genres(_GENRES, genres):
        genres = None
    nothing = pa.nulls(len(items.ids))
    columns = (items.ids, nothing if titles is None else titles, nothing if genres is None else genres)
    return {
        item: ItemText(title or item, tuple(named or ()))
        for item, title, named in zip(*(column.to_pylist() for column in columns), strict=True)
    }


def _aligned(described: Described, columns: dict[str, pa.Array], ids: tuple[str, ...]) -> dict[str, pa.Array]:
    """Columns in the order of ids, null where the table has no row."""
    places = pc.index_in(pa.array(ids, pa.string()), described.ids)
    return {name: column.take(places) for name, column in columns.items()}
