"""Finds what only the whole of a log or a table shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data.schema import summary
from trainer.data.schema.events import Events
from trainer.data.schema.reading import SourceReader
from trainer.data.schema.report import MOST_EXAMPLES, Example, Finding
from trainer.data.schema.tables import Described
from trainer.data.schema.values import EARLIEST, MICROS, PER_SECOND

_DAY = 86_400 * MICROS
_WITH_ARTICLE = {"item": "an item", "user": "a user"}
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def _examples(reader: SourceReader, data: Events | Described, places: np.ndarray, found: list[str]) -> list[Example]:
    files, rows = data.files[places].tolist(), data.rows[places].tolist()
    return [Example(reader.files[file].label, row, what) for file, row, what in zip(files, rows, found, strict=False)]


def judge_log(events: Events, reader: SourceReader) -> None:
    """Reports what is odd about times, repeats, short histories, types of events and features."""
    judge_times(events, reader, "share")
    _judge_repeats(events, reader)
    _judge_short_histories(events, reader)
    _judge_types(events, reader)
    _judge_features(events.features, reader)


def judge_times(events: Events, reader: SourceReader, level: Literal["warning", "share"]) -> None:
    """Reports times before 1990 and in the future, at a level."""
    if events.micros is None:
        return
    latest = int(time.time()) * MICROS + _DAY
    for kind, wrong, message in (
        ("early_time", events.micros < EARLIEST, "a time before 1990"),
        ("future_time", events.micros > latest, "a time in the future"),
    ):
        places = np.flatnonzero(wrong)
        if not len(places):
            continue
        first = places[:MOST_EXAMPLES]
        shown = [summary.shown_time(each) for each in events.micros[first].tolist()]
        finding = Finding(
            *(kind, reader.place, reader.source.time.column, message), _unit_cure(events, reader, latest), level
        )
        reader.report.add(finding, _examples(reader, events, first, shown), len(places))


def _unit_cure(events: Events, reader: SourceReader, latest: int) -> str:
    """Names the unit by which the middle of the times would be in a credible year."""
    spec = reader.source.time
    middle = float(np.median(events.micros))
    for unit, rate in PER_SECOND.items():
        if unit != spec.unit and EARLIEST <= middle * PER_SECOND[spec.unit] / rate <= latest:
            return f"It looks like {_UNIT_NAMES[unit]}: set `unit: {unit}` of `time`"
    return "Set `unit` of `time` (s, ms, us, ns) or `format`, or mend these rows"


def _judge_repeats(events: Events, reader: SourceReader) -> None:
    """Rows alike in user, item and time; of a pair only the first event counts, whatever its time."""
    keys = (events.items.codes, events.users.codes)
    micros = np.zeros(len(events.rows), np.int64) if events.micros is None else events.micros
    order = np.lexsort((micros, *keys))
    same_pair = np.logical_and.reduce([np.diff(key[order]) == 0 for key in keys])
    same_time = np.diff(micros[order]) == 0
    repeated = np.sort(order[1:][same_pair & same_time])
    if not len(repeated):
        return
    first = repeated[:MOST_EXAMPLES]
    shown = [
        f"user {events.users.ids[user]!r}, item {events.items.ids[item]!r} was there before"
        for user, item in zip(events.users.codes[first], events.items.codes[first], strict=True)
    ]
    finding = Finding(
        *("duplicate_row", reader.place, "", "a row with the user, item and time of one before it"),
        *("Harmless if few: a user's first event of an item counts. If many, is a file read twice?", "warning"),
    )
    reader.report.add(finding, _examples(reader, events, first, shown), len(repeated))


def _judge_short_histories(events: Events, reader: SourceReader) -> None:
    counts = np.bincount(events.users.codes)
    places = np.flatnonzero(counts[events.users.codes] == 1)
    if not len(places):
        return
    first = places[:MOST_EXAMPLES]
    shown = [f"user {events.users.ids[user]!r}" for user in events.users.codes[first]]
    cure = f"{len(places) / len(counts):.1%} of users read: nothing can be learnt of what follows what from them"
    finding = Finding("single_event", reader.place, reader.source.user, "a user with one event", cure, "warning")
    reader.report.add(finding, _examples(reader, events, first, shown), len(places))


def _judge_types(events: Events, reader: SourceReader) -> None:
    source = reader.source
    left_out = reader.report.left_out.get(reader.place, 0)
    total = left_out + len(events.rows)
    if source.event and source.event.types and left_out > total // 2:
        cure = f"`event.types` has {', '.join(source.event.types)}; add the types that count, or lower `min_weight`"
        finding = Finding(
            "light_events", reader.place, source.event.column, "most events do not count", cure, "warning"
        )
        reader.report.add(finding, [Example("", None, f"{left_out:,} of {total:,} are left out")], left_out)


def judge_table(described: Described, reader: SourceReader) -> None:
    """Reports ids that occur twice, and features that say nothing."""
    if described.repeated:
        examples = [Example(reader.files[file].label, row, "") for file, row in described.repeated[:MOST_EXAMPLES]]
        finding = Finding(
            *("repeated_id", reader.place, reader.source.id, "an id that was there before"),
            *("The first row of an id counts; leave the others out", "warning"),
        )
        reader.report.add(finding, examples, len(described.repeated))
    _judge_features(described.features, reader)


def _judge_features(features: dict[str, pa.Array], reader: SourceReader) -> None:
    for feature in reader.source.features:
        column = features.get(feature.name)
        if column is None or not len(column):
            continue
        if column.null_count == len(column):
            finding = Finding(
                *("empty_feature", reader.place, feature.source, f"feature {feature.name!r} has no value in any row"),
                *("Name another column, or leave the feature out", "warning"),
            )
            reader.report.add(finding, [], 1)
        elif (
            feature.kind == "multi_category" and feature.separator and pc.max(pc.list_value_length(column)).as_py() < 2
        ):
            finding = Finding(
                *("unused_separator", reader.place, feature.source, f"separator {feature.separator!r} never occurs"),
                *("Set the separator that the values have, or `kind: category`", "warning"),
            )
            shown = [repr(each) for each in column.drop_null()[:3].to_pylist()]
            places = np.flatnonzero(np.asarray(column.is_valid()))[:3]
            reader.report.add(finding, [Example("", None, each) for each in shown[: len(places)]], 1)


def judge_rows(described: Described, reader: SourceReader, acting: list[str], least: float = 0.0) -> None:
    """Items or users of the log without a row, where more than a share of them have none."""
    lacking = pc.invert(pc.is_in(pa.array(acting, pa.string()), described.ids))
    absent = pa.array(acting, pa.string()).filter(lacking)
    judge_absent(absent[:MOST_EXAMPLES].to_pylist(), len(absent), len(acting), reader, least)


def judge_absent(examples: Sequence[str], absent: int, acting: int, reader: SourceReader, least: float) -> None:
    """The same of how many of them have no row, and some that have none."""
    if absent > least * acting:
        cure = f"Add rows to the table, or leave it: {absent / acting:.1%} of those read have no features to the model"
        if absent == acting:
            cure = f"Are the ids of `{reader.source.id}` written otherwise than those in the log?"
        message = f"no row for {_WITH_ARTICLE[reader.place[:-1]]} of the log"
        finding = Finding("no_row", reader.place, reader.source.id, message, cure, "warning")
        reader.report.add(finding, [Example("", None, repr(one)) for one in examples[:MOST_EXAMPLES]], absent)


def judge_pair(described: Described, reader: SourceReader, acting: list[str]) -> None:
    """Items or users of the log without a row, and rows without an event."""
    thing = reader.place[:-1]
    judge_rows(described, reader, acting)
    idle = np.flatnonzero(~np.asarray(pc.is_in(described.ids, pa.array(acting, pa.string()))))
    if len(idle):
        shown = [repr(one) for one in described.ids.take(pa.array(idle[:MOST_EXAMPLES])).to_pylist()]
        cure = "They are no part of the model"
        if thing == "item":
            cure += "; `python -m trainer.extend` adds items by their features once there is one"
        finding = Finding(
            "no_event", reader.place, reader.source.id, f"no event read of {thing}s of the table", cure, "warning"
        )
        reader.report.add(finding, _examples(reader, described, idle[:MOST_EXAMPLES], shown), len(idle))
