"""The data: how much there is, and how unevenly it is spread."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

from trainer.data.splits import test_events
from trainer.report.classes import growing
from trainer.report.markup import Section, facts, figure, figures, lead, note
from trainer.report.pictures import MODEL, bars, drawing, key, powers, slant, svg, whole
from trainer.report.run import Run

_TOP_SHARE = 0.01
_PERIODS = 40
_FEW_NAMES = 7


def data_section(run: Run) -> Section:
    """What the run was made from."""
    numbers = _numbers(run)
    span = numbers["span"]
    shown = {
        "users": f"{numbers['users']:,}",
        "items": f"{numbers['items']:,}",
        "events": f"{numbers['events']:,}",
        "events of a user, median": f"{numbers['median_events']:,.0f}",
        "of pairs of user and item": f"{numbers['density']:.2%}",
        "of events on 1% of items": f"{numbers['top_share']:.0%}",
    }
    parts = numbers["split"]
    body = [
        lead(
            f"{run.interactions.name}"
            + (f", {span[0]} to {span[1]}" if span else ", without times")
            + f". Split “{run.parts.method}”: {parts['train']:,} events to learn from,"
            f" {parts['validation']:,} to choose the model, {parts['test']:,} to judge it."
        ),
        facts(shown),
        figures([_users(run), _popularity(run), *([_time(run)] if run.has_times else [])]),
    ]
    if not run.has_times:
        body.append(note("The source has no times: events count in the order of the file."))
    return Section("Data", "".join(body), numbers)


def times_of_test(run: Run) -> list[np.ndarray]:
    """Of every user's test events, in their order: seconds since the first event of the same item in the data."""
    events = run.interactions
    first_seen = first_times(run)
    chosen = test_events(events, run.parts.method)
    ages = events.times[chosen] - first_seen[events.items[chosen]]
    counts = np.bincount(events.users[chosen], minlength=len(events.user_ids))
    return np.split(ages, np.cumsum(counts)[:-1])


def first_times(run: Run) -> np.ndarray:
    """When each item of the data first occurs, `[I]` seconds."""
    first = np.full(len(run.interactions.catalogue), np.iinfo(np.int64).max)
    np.minimum.at(first, run.interactions.items, run.interactions.times)
    return first


def _numbers(run: Run) -> dict[str, Any]:
    events = run.interactions
    per_user, per_item = np.bincount(events.users), np.sort(np.bincount(events.items))[::-1]
    top = per_item[: max(1, round(_TOP_SHARE * len(per_item)))].sum() / len(events)
    span = [_date(events.times.min()), _date(events.times.max())] if run.has_times else None
    return {
        "source": run.source,
        "users": len(events.user_ids),
        "items": len(events.catalogue),
        "events": len(events),
        "density": len(events) / (len(events.user_ids) * len(events.catalogue)),
        "median_events": float(np.median(per_user)),
        "most_events": int(per_user.max()),
        "top_share": float(top),
        "span": span,
        "split": {part: sum(map(len, getattr(run.parts, part))) for part in ("train", "validation", "test")},
    }


def _date(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).date().isoformat()


def _users(run: Run) -> str:
    counts = np.bincount(run.interactions.users)
    classes = growing(2, int(counts.max()), first=(1,))
    found = np.bincount(classes.of(counts), minlength=len(classes.names))
    first = int(np.flatnonzero(found)[0])
    made, axes = drawing()
    bars(axes, classes.names[first:], {"users": (found[first:], None)})
    if len(found) - first > _FEW_NAMES:
        slant(axes)
    axes.set(xlabel="events of a user", ylabel="users")
    whole(axes.yaxis)
    return figure(
        svg(made, "data-users", "Users by their number of events"),
        "Events a user",
        "Users by how many events they have.",
        "most users have several events: a history says something about what comes next.",
        "a tall first bar. Users with one or two events teach nothing about order and are hard to answer.",
    )


def _popularity(run: Run) -> str:
    counts = np.sort(np.bincount(run.interactions.items))[::-1]
    made, axes = drawing()
    axes.plot(np.arange(1, len(counts) + 1), counts, color=MODEL)
    powers(axes.xaxis)
    powers(axes.yaxis)
    axes.set(xlabel="items, most popular first", ylabel="events")
    return figure(
        svg(made, "data-items", "Events of each item, the most popular first"),
        "Popularity",
        "Events of each item, both axes by powers of ten.",
        "a gentle slope: many items have enough events to be learned.",
        "a cliff, with a long flat tail at one event. The tail is learned from features only, if at all.",
    )


def _time(run: Run) -> str:
    times = run.interactions.times
    counts, edges = np.histogram(times, _PERIODS)
    new = np.histogram(first_times(run), edges)[0]
    days = [datetime.datetime.fromtimestamp(edge, datetime.UTC) for edge in (edges[1:] + edges[:-1]) / 2]
    made, axes = drawing()
    axes.plot(days, counts, color=MODEL, label="events")
    axes.plot(days, new, color=MODEL, linestyle=":", label="items seen for the first time")
    axes.set(ylabel="events, items", ylim=(0, None))
    whole(axes.yaxis)
    made.autofmt_xdate(rotation=30)
    key(axes, columns=2)
    return figure(
        svg(made, "data-time", "Events and new items over time"),
        "Over time",
        "Events, and items that occur for the first time, in each fortieth of the span.",
        "a steady level, and few new items towards the end.",
        "a few bursts (an import, not behaviour), or many new items at the end, which the model has never seen.",
    )
