"""What is looked for first: the head of the page."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.report.answers import METRIC_NAMES
from trainer.report.markup import Section, facts
from trainer.report.run import Run

_KINDS = {"SparCode": "SparCode", "TwoTower": "Two-tower model", "LateInteraction": "Late-interaction model"}


def kind_of(run: Run) -> str:
    """The kind of model, in words."""
    members = run.config.training.num_members
    return _KINDS[run.kind] + (f" of {members} members" if members > 1 else "")


def summary(sections: Sequence[Section]) -> str:
    """The numbers of the sections that matter most."""
    numbers = {each.anchor: each.numbers for each in sections}
    totals = numbers["accuracy"]["totals"]
    found = {}
    for metric in ("recall@50", "ndcg@50"):
        popular = totals["popularity"][metric][0]
        found[f"{METRIC_NAMES[metric]} on test; popularity: {popular:.3f}"] = f"{totals['model'][metric][0]:.3f}"
    found["epochs"] = str(max(len(member["loss"]) for member in numbers["training"]["members"]))
    books = numbers["codes"].get("books", ())
    if books:
        used, there = (sum(book[name] for book in books) for name in ("used", "codewords"))
        found[f"codewords in use, of {there:,}"] = f"{used:,}"
    return facts(found)
