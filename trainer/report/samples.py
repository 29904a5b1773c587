"""Recommendations for some users, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer.report.answers import Answers
from trainer.report.codes import code_name, slots_of, usual_contributions
from trainer.report.exported import Encoded, Exported
from trainer.report.markup import Section, items, lead, named, text
from trainer.report.run import Run

_USERS = 6
_ANSWERS = 10
_HISTORY = 8
_REASONS = 3
_TICK = '<b class="taken">✓</b> '
_UNSEEN = "an item that training never saw"
_LEAST = 0.05  # what is not 0.0 in words
_KEY = (("code", "what this user's codes add, above the usual"), ("event", "what events of the history add"))


class Part(NamedTuple):
    """What one token of a query adds to a score.

    Attributes:
      kind: "code" or "event".
      name: of the token, for people.
      value: what it adds, >= 0; all parts of an answer add up to its score.
      usual: what the slot's codes add to the same item, on average over queries; 0 of an event.
    """

    kind: str
    name: str
    value: float
    usual: float


def samples_section(run: Run, answers: Answers, encoded: Encoded | None) -> Section:
    """Users of short and long histories, their answers, and what each answer's score is made of."""
    usual = None if run.exported is None else usual_contributions(run.exported, encoded)
    users = [_user(run, answers, encoded, usual, int(query)) for query in choose(run.queries.histories)]
    said = (
        "Test users chosen by the length of their history, not by how well they are answered; ✓ marks what they really"
        " took next."
    )
    if run.exported is None:
        return Section("Recommendations", lead(said) + "".join(map(_article, users)), {"users": users})
    said += (
        " Most of a score is usual: what the codes of all queries add to the item on average, mostly its popularity."
        " The bar is the rest, what makes the answer this user's."
    )
    parts = "".join(f'<li><span class="bar"><i class="{kind}"></i></span>{text(words)}</li>' for kind, words in _KEY)
    body = lead(said) + f'<ul class="key">{parts}</ul>' + "".join(map(_article, users))
    return Section("Recommendations", body, {"users": users})


def choose(histories: Sequence[np.ndarray]) -> np.ndarray:
    """Queries with a history, at even distances in the order of its length."""
    lengths = np.array([len(history) for history in histories])
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    return order[np.unique(np.arange(1, 2 * _USERS, 2) * len(order) // (2 * _USERS))] if len(order) else order


def _user(run: Run, answers: Answers, encoded: Encoded | None, usual: np.ndarray | None, query: int) -> dict[str, Any]:
    titles = run.parts.catalogue.title
    history, targets = run.queries.histories[query], run.queries.targets[query]
    ranked = answers.ranked[query][:_ANSWERS]
    ranked = ranked[ranked >= 0]
    explained = [[] for _ in ranked]
    if run.exported is not None:
        explained = parts_of(run.exported, encoded, usual, query, ranked, titles)
    return {
        "user": run.parts.user_ids[run.queries.users[query]],
        "events": len(history),
        "history": [titles[row] for row in history[::-1][:_HISTORY]],
        "next": [{"title": titles[row] if row >= 0 else None, "answered": bool(row in ranked)} for row in targets],
        "answers": [
            {"title": titles[row], "taken": bool(row in targets), "parts": [part._asdict() for part in parts]}
            for row, parts in zip(ranked, explained, strict=True)
        ],
    }


def parts_of(
    exported: Exported, encoded: Encoded, usual: np.ndarray, query: int, rows: np.ndarray, titles: Sequence[str]
) -> list[list[Part]]:
    """Of each of some items of a query: what every token adds; those that add nothing are left out.

    Args:
      exported: the model.
      encoded: queries.
      usual: `[slots, I]`.
      query: which of them.
      rows: `[n]` of the items.
      titles: of the catalogue.
    """
    slots = slots_of(encoded, exported)
    tokens = exported.contributions(encoded.keys[query])[:, rows]
    events = exported.event_parts(encoded, query, rows)
    names = [
        *(("code", code_name(codes, slot)) for slot, codes in zip(slots, encoded.codes[query], strict=True)),
        *(("event", titles[row] if row >= 0 else "") for row in encoded.events[query]),
    ]
    values = np.concatenate([tokens, events]).T
    means = np.concatenate([usual[slots][:, rows], np.zeros_like(events)]).T
    return [
        [
            Part(*name, float(value), float(mean))
            for name, value, mean in zip(names, own, expected, strict=True)
            if value > 0 or mean > 0
        ]
        for own, expected in zip(values, means, strict=True)
    ]


def _article(user: dict[str, Any]) -> str:
    most = max((sum(value for _, value in _segments(answer["parts"])) for answer in user["answers"]), default=0.0)
    shown = "".join(_answer(answer, most) for answer in user["answers"])
    later = [_TICK * event["answered"] + named(event["title"] or _UNSEEN) for event in user["next"]]
    more = user["events"] - len(user["history"])
    history = [*map(named, user["history"]), *([f"and {more:,} before"] if more else [])]
    return (
        f'<article class="user"><h3>User {named(user["user"])}</h3><div class="columns">'
        f"<div><h5>History, newest first</h5>{items(history, ordered=False)}"
        f"<h5>Took next</h5>{items(later[:_HISTORY], ordered=False)}</div>"
        f'<div><h5>Recommended</h5><ol class="answers">{shown}</ol></div></div></article>'
    )


def _segments(parts: Sequence[dict[str, Any]]) -> list[tuple[str, float]]:
    """Kind and value of what is more than usual, codes first."""
    above = [(part["kind"], part["value"] - part["usual"]) for part in parts]
    return sorted(((kind, value) for kind, value in above if value > 0), key=lambda each: (each[0], -each[1]))


def _answer(answer: dict[str, Any], most: float) -> str:
    title, parts = f"<span>{_TICK * answer['taken']}{named(answer['title'])}</span>", answer["parts"]
    if not parts:
        return f"<li>{title}</li>"
    widths = ((kind, 100 * value / most) for kind, value in _segments(parts))
    bar = "".join(f'<i class="{kind}" style="width:{width:.2f}%"></i>' for kind, width in widths)
    return f'<li>{title}<span class="bar">{bar}</span><small>{_why(parts)}</small></li>'


def _why(parts: Sequence[dict[str, Any]]) -> str:
    """The score, and what differs most from the usual, as markup."""
    total, usual = (sum(part[name] for part in parts) for name in ("value", "usual"))
    above = sorted(((part["value"] - part["usual"], part) for part in parts), key=lambda each: -abs(each[0]))
    reasons = [
        f"{'after ' if part['kind'] == 'event' else ''}{named(part['name'])} {_signed(more)}"
        for more, part in above[:_REASONS]
        if abs(more) >= _LEAST
    ]
    return ": ".join(filter(None, (f"score {total:.1f}, usual {usual:.1f}", ", ".join(reasons))))


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")
