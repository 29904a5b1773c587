"""Judges data against its schema: everything that reading reports, and what only the whole shows."""

from __future__ import annotations

from typing import Any, NamedTuple

from protos.errors import UserError
from trainer.data.schema import summary
from trainer.data.schema.events import Events, collect_events
from trainer.data.schema.judge import judge_log, judge_pair, judge_table
from trainer.data.schema.reading import SourceReader
from trainer.data.schema.report import Report
from trainer.data.schema.spec import Schema
from trainer.data.schema.tables import collect_table


class Checked(NamedTuple):
    """What was understood, and what is wrong.

    Attributes:
      summary: by place; without a place that could not be read at all.
      report: on all problems.
    """

    summary: dict[str, Any]
    report: Report


def check(schema: Schema, sample: int | None) -> Checked:
    """Reads a sample of the log, and the tables whole, and judges them.

    Args:
      schema: as read.
      sample: rows of the log, the first ones of each file alike; None for all.

    Raises:
      UserError: a file is not there or cannot be read.
    """
    report = Report(schema.max_bad_share, stop_at_once=False)
    found = {}
    log = SourceReader("interactions", schema.interactions, report)
    events = _events(log, sample)
    if events is not None:
        found["interactions"] = summary.of_events(events, log)
        judge_log(events, log)
    for place in ("items", "users"):
        source = getattr(schema, place)
        if source is None:
            continue
        reader = SourceReader(place, source, report)
        described = collect_table(reader)
        found[place] = summary.of_table(described, reader)
        judge_table(described, reader)
        if events is not None:
            judge_pair(described, reader, getattr(events, place).ids)
    return Checked(found, report)


def _events(reader: SourceReader, sample: int | None) -> Events | None:
    """The events; None where the report says why there are none."""
    try:
        return collect_events(reader, sample)
    except UserError:
        if reader.report.errors():
            return None
        raise
