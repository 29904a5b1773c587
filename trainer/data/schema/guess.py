"""Guesses a schema: which files are the log and the tables, and what each of their columns is."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from protos.errors import UserError
from trainer.data.schema import kinds
from trainer.data.schema.guesses import Log, TableGuess
from trainer.data.schema.sniff import Sniffed, sniff
from trainer.data.schema.spec import TimeColumn
from trainer.data.schema.values import identifiers, without_point
from trainer.data.schema.written import write

_USER = re.compile(r"user|customer|client|member|account|visitor|viewer|reviewer|listener|person|uid", re.IGNORECASE)
_ITEM = re.compile(
    r"item|product|movie|film|book|song|track|artist|article|news|content|video|asin|sku|iid|isbn|game|recipe|business",
    re.IGNORECASE,
)
_TIME = re.compile(r"time|date|\bts\b|_ts$|created|_at$|^at$", re.IGNORECASE)
_RATING = re.compile(r"rating|score|stars|weight|plays|count", re.IGNORECASE)
_EVENT = re.compile(r"event|action|type|behaviou?r", re.IGNORECASE)
_TITLE = re.compile(r"title|name", re.IGNORECASE)
_NO_FILES = "expected at least one file with a user and an item in each row"


class Guessed(NamedTuple):
    """A schema for people, and what it is not sure of.

    Attributes:
      text: the YAML file.
      doubts: sentences.
    """

    text: str
    doubts: list[str]


def guess(paths: Sequence[str], base: pathlib.Path) -> Guessed:
    """Looks at files and writes a schema of them.

    Args:
      paths: of files or directories.
      base: the directory that the schema will be in.

    Raises:
      UserError: a path names no data file, a file cannot be read, or no file looks like a log of interactions.
    """
    found = sniff(paths)
    logs = sorted(filter(None, map(_log, found)), key=lambda log: (log.time is not None, log.sniffed.size))
    if not logs:
        seen = "; ".join(f"{each.name}: {', '.join(each.columns)}" for each in found)
        raise UserError(f"no file looks like a log of interactions; found {seen}; {_NO_FILES}")
    log, doubts = logs[-1], []
    others = [each for each in found if each is not log.sniffed]
    tables = [table for table in (_table(each, log) for each in others) if table]
    if log.sniffed.source.names and _swapped(tables):
        log = dataclasses.replace(log, user=log.item, item=log.user)
        tables = [table for table in (_table(each, log) for each in others) if table]
    chosen = {place: _richest(tables, place) for place in ("items", "users")}
    doubts += _doubts_of_log(log)
    for table in filter(None, chosen.values()):
        doubts += table.doubts
    unused = [each.name for each in others if each not in [table and table.sniffed for table in chosen.values()]]
    if unused:
        doubts.append(f"not used: {', '.join(unused)}")
    return Guessed(write(log, chosen["items"], chosen["users"], doubts, base), doubts)


def _log(sniffed: Sniffed) -> Log | None:
    """The log that files may be; None if they have no user and item, or a row each."""
    columns, named = sniffed.columns, not sniffed.source.names
    times = {name: spec for name, column in columns.items() if (spec := _time(name, column, named))}
    ids = [name for name, column in columns.items() if name not in times and kinds.can_be_ids(column)]
    if named:
        user, item = _best(ids, _USER), _best([name for name in ids if name != _best(ids, _USER)], _ITEM)
        if user is None or item is None:
            return None
    else:
        few = [name for name in ids if _is_rating(name, columns[name], named)]
        ids = [name for name in ids if name not in few[len(few) - max(0, len(ids) - 2) :]] if few else ids
        if len(ids) < 2 or any(kinds.is_key(columns[name]) and len(columns[name]) > 1 for name in ids[:2]):
            return None
        if not times and len(columns) > 3:
            return None
        user, item = ids[:2]
    rest = [name for name in columns if name not in (user, item, *times)]
    rating = next((name for name in rest if _is_rating(name, columns[name], named)), "")
    events = (name for name in rest if named and _EVENT.search(name) and kinds.can_be_ids(columns[name]))
    event = next((name for name in events if name != rating and kinds.distinct(columns[name]) <= 30), "")
    time = next(iter(sorted(times.items(), key=lambda pair: not _TIME.search(pair[0]))), (None, None))[1]
    return Log(sniffed, user, item, time, rating, event)


def _time(name: str, column: pa.Array, named: bool) -> TimeColumn | None:
    """How a column is read as times; with a header, only where it is named like one or is of such a type."""
    if named and not _TIME.search(name) and not pa.types.is_temporal(column.type):
        return None
    return kinds.time_of(name, column)


def _is_rating(name: str, column: pa.Array, named: bool) -> bool:
    if not kinds.are_numbers(column):
        return False
    return bool(_RATING.search(name)) if named else kinds.distinct(column) <= 20


def _best(names: Sequence[str], pattern: re.Pattern[str]) -> str | None:
    """The first name that fits, one that speaks of an id before others."""
    fitting = [name for name in names if pattern.search(name)]
    return min(fitting, key=lambda name: "id" not in name.lower(), default=None)


def _table(sniffed: Sniffed, log: Log) -> TableGuess | None:
    """The table of items or users that files may be."""
    keys = [name for name, column in sniffed.columns.items() if kinds.is_key(column)]
    ranked = sorted(_links(sniffed, keys, log), reverse=True)
    if not ranked or ranked[0][0] == 0:
        return None
    _, _, place, key = ranked[0]
    table = TableGuess(sniffed, place, key, "", [], [])
    for name, column in sniffed.columns.items():
        if name == key:
            continue
        guessed = kinds.feature_of(name, column)
        if guessed.doubt:
            outcome = "" if guessed.feature else ", left out"
            table.doubts.append(f"{sniffed.name}, column {name!r}{outcome}: {guessed.doubt}")
        if guessed.feature:
            table.features.append(guessed.feature)
    texts = [feature.name for feature in table.features if feature.kind == "text"]
    if place == "items":
        table.title = next((name for name in texts if _TITLE.search(name)), texts[0] if texts else "")
    return table


def _links(sniffed: Sniffed, keys: Sequence[str], log: Log) -> Iterator[tuple[float, int, str, str]]:
    """(how sure, earlier columns first, place, key) of every way to take files as a table."""
    for number, key in enumerate(keys):
        for place, column, pattern in (("items", log.item, _ITEM), ("users", log.user, _USER)):
            named = not sniffed.source.names
            sure = _overlap(_ids(sniffed, key), _ids(log.sniffed, column))
            if named and sure > 0.01:
                sure += 2.0 * (key == column) + 1.0 * bool(pattern.search(key))
            if sure > 0.05:
                # The file's name helps where columns have none.
                sure += 0.5 * bool(pattern.search(sniffed.name))
            yield (sure if sure > 0.05 else 0.0, -number, place, key)


def _ids(sniffed: Sniffed, name: str) -> pa.Array:
    """A column as ids, as reading by the schema will have them."""
    column = sniffed.columns[name]
    return identifiers(without_point(column) if sniffed.files[0].is_text else column).values


def _overlap(keys: pa.Array, log: pa.Array) -> float:
    """Share of the log's different ids that are among keys."""
    return pc.mean(pc.is_in(pc.unique(log.drop_null()), keys).cast(pa.float64())).as_py() or 0.0


def _swapped(tables: Sequence[TableGuess]) -> bool:
    """Whether files named like items have the ids that were taken for users."""
    return any(table.place == "users" and _ITEM.search(table.sniffed.name) for table in tables)


def _richest(tables: Sequence[TableGuess], place: str) -> TableGuess | None:
    here = [table for table in tables if table.place == place and (table.features or table.title)]
    return max(here, key=lambda table: len(table.features), default=None)


def _doubts_of_log(log: Log) -> Iterator[str]:
    name, named = log.sniffed.name, not log.sniffed.source.names
    if not named:
        yield f"{name} has no header: user is taken to be {_shown(log.user)}, item {_shown(log.item)}"
    if log.time is None:
        yield f"{name} has no column of times: the order of rows is taken as the order of time"
    elif "%m" in log.time.format and "%d" in log.time.format and "/" in log.time.format:
        yield f"{name}, column {log.time.column!r}: {log.time.format} fits; could day and month be the other way round?"
    if log.event:
        yield f"{name}, column {log.event!r}: all types of events count alike; leave out those that are no choice"
    if log.rating:
        yield f"{name}, {_shown(log.rating)}: every event counts, whatever it is; `weight` and `min_weight` change that"


def _shown(column: str) -> str:
    """A column for people: by its number where there is no header."""
    return column.replace("_", " ") if re.fullmatch(r"column_\d+", column) else f"column {column!r}"
