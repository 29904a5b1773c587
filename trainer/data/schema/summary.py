"""What was understood of data, in numbers: for people as text, for programs as JSON."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data.schema.events import Events
from trainer.data.schema.reading import SourceReader
from trainer.data.schema.tables import Described

_EXAMPLES = 3
_SHOWN = 40


def of_events(events: Events, reader: SourceReader) -> dict[str, Any]:
    """Of the log: files, rows, users, items, span of time, events a user, features."""
    counts = np.bincount(events.users.codes)
    summary = _of_source(reader, events.features) | {
        "events": len(events.rows),
        "left_out_by_weight": reader.report.left_out.get(reader.place, 0),
        "users": len(events.users.ids),
        "items": len(events.items.ids),
        "events_a_user": {
            "median": float(np.median(counts)),
            "p90": float(np.quantile(counts, 0.9)),
            "most": int(counts.max()),
        },
    }
    if events.micros is not None:
        summary["times"] = [shown_time(int(edge)) for edge in (events.micros.min(), events.micros.max())]
    return summary


def of_table(described: Described, reader: SourceReader) -> dict[str, Any]:
    """Of a table: files, rows, distinct ids, features."""
    titles = {} if described.titles is None else {reader.source.title: described.titles}
    return _of_source(reader, {**titles, **described.features}) | {"ids": len(described.ids)}


def _of_source(reader: SourceReader, features: dict[str, pa.Array]) -> dict[str, Any]:
    kinds = {feature.name: feature.kind for feature in reader.source.features}
    return {
        "files": len(reader.files),
        "rows": reader.report.rows[reader.place],
        "bad_rows": reader.report.bad_rows[reader.place],
        "features": {name: _of_column(column, kinds.get(name, "")) for name, column in features.items()},
    }


def _of_column(column: pa.Array, kind: str) -> dict[str, Any]:
    """Kind, share of rows that have a value, distinct values of names, and examples."""
    present = column.drop_null()
    found = {"kind": kind, "coverage": len(present) / len(column) if len(column) else 0.0}
    flat = present.flatten() if pa.types.is_list(column.type) else present
    if kind in ("category", "multi_category"):
        found["distinct"] = len(pc.unique(flat))
    return found | {"examples": [_cut(value) for value in present[:_EXAMPLES].to_pylist()]}


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _SHOWN:
        return f"{value[:_SHOWN]}..."
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return [_cut(each) for each in value[:6]] if isinstance(value, list) else value


def shown_time(micros: int) -> str:
    """A time for people, also one that no calendar has."""
    try:
        return (datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)).isoformat(timespec="seconds")
    except OverflowError:
        return f"{micros / 31_556_952e6:+,.0f} years from 1970"


def text(summary: dict[str, Any]) -> str:
    """A summary for people."""
    lines = []
    for place, found in summary.items():
        rows, files = counted(found["rows"], "row"), counted(found["files"], "file")
        lines.append(f"{place}: {rows} in {files}, {found['bad_rows']:,} bad")
        if place == "interactions":
            lines += _log_lines(found)
        else:
            lines.append(f"  {found['ids']:,} ids")
        for name, column in found["features"].items():
            distinct = f", {column['distinct']:,} distinct" if "distinct" in column else ""
            examples = ", ".join(map(repr, column["examples"]))
            lines.append(
                f"  {name}{' ' * bool(column['kind'])}{column['kind']}: {column['coverage']:.1%} of rows{distinct};"
                f" such as {examples}"
            )
    return "\n".join(lines)


def _log_lines(found: dict[str, Any]) -> list[str]:
    each = found["events_a_user"]
    lines = [
        f"  {found['events']:,} events of {found['users']:,} users and {found['items']:,} items;"
        f" {found['left_out_by_weight']:,} left out by weight",
        f"  events a user: median {each['median']:,.0f}, 90% below {each['p90']:,.0f}, most {each['most']:,}",
    ]
    if "times" in found:
        lines.append(f"  from {found['times'][0]} to {found['times'][1]} UTC")
    return lines


def counted(number: int, what: str) -> str:
    """A number of things in words: `1 file`, `2,000 files`."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
