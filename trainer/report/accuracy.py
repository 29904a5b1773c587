"""How well the model does on test events, and for whom and what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.baselines import Popularity
from trainer.data.splits import UNKNOWN
from trainer.evaluation import METRICS
from trainer.report.answers import METRIC_NAMES, Answers, answer, hits_of, mean_of, share_of
from trainer.report.classes import AGES, Classes, growing
from trainer.report.curves import final_metrics
from trainer.report.data import times_of_test
from trainer.report.markup import Section, figure, figures, lead, note, table
from trainer.report.pictures import bars, drawing, key, svg
from trainer.report.run import Run
from trainer.training import SELECTED_BY

_K = 50


def accuracy_section(run: Run, answers: Answers) -> Section:
    """Totals, and the same by length of the history, popularity and age of what was taken."""
    rankers = {"model": answers, "popularity": answer(Popularity.fit(run.parts), run)}
    totals = {
        name: {metric: mean_of(values) for metric, values in found.per_user.items()} for name, found in rankers.items()
    }
    by = {"history length": _by_history(run, rankers), "item popularity": _by_popularity(run, rankers)}
    if run.has_times:
        by["item age"] = _by_age(run, rankers)
    numbers = {"queries": len(run.queries), "of": run.asked, "totals": totals, "by": by}
    body = [
        lead(_said(run, totals)),
        table(
            ["test, whole catalogue ranked", *(METRIC_NAMES[metric] for metric in METRICS)],
            [[name, *(_written(found[metric]) for metric in METRICS)] for name, found in totals.items()],
        ),
        note("± is the half width of a 95% interval. Items of a user's history are never answered."),
        figures(_pictures(by), wide=True),
    ]
    return Section("Accuracy", "".join(body), numbers)


def _said(run: Run, totals: dict[str, Any]) -> str:
    sample = f"a sample of {len(run.queries):,} of" if len(run.queries) < run.asked else "all"
    model, popular = (totals[name]["recall@50"][0] for name in ("model", "popularity"))
    said = (
        f"Measured on {sample} {run.asked:,} users with test events, each asked once with all that came before. Of what"
        f" they took next, {model:.1%} is among the first 50 answers of the model, and {popular:.1%} among the 50 most"
        " popular items."
    )
    chosen = final_metrics(run).get(SELECTED_BY)
    return said if chosen is None else said + f" On validation, which chose the model, NDCG@50 was {chosen:.4f}."


def _by_history(run: Run, rankers: dict[str, Answers]) -> dict[str, Any]:
    lengths = np.array([len(history) for history in run.queries.histories])
    # The longest histories are few: one class for the last fiftieth of users.
    classes = growing(2, int(np.quantile(lengths, 0.98)))
    places = classes.of(lengths)
    present = [place for place in range(len(classes.names)) if (places == place).any()]
    return {
        "names": [classes.names[place] for place in present],
        "counts": [int((places == place).sum()) for place in present],
        **{
            metric: {
                name: [mean_of(found.per_user[metric][places == place]) for place in present]
                for name, found in rankers.items()
            }
            for metric in ("ndcg@50", "recall@50")
        },
    }


def _by_popularity(run: Run, rankers: dict[str, Answers]) -> dict[str, Any]:
    counts = np.bincount(np.concatenate(run.parts.train), minlength=len(run.parts.catalogue))
    targets = np.concatenate(run.queries.targets)
    events = np.where(targets == UNKNOWN, 0, counts[np.maximum(targets, 0)])
    return _by_event(run, rankers, growing(4, int(counts.max())), events)


def _by_age(run: Run, rankers: dict[str, Answers]) -> dict[str, Any]:
    """Ages are counted from an item's first event in the data to the event that is to be predicted."""
    ages = times_of_test(run)
    return _by_event(run, rankers, AGES, np.concatenate([ages[user] for user in run.queries.users]))


def _by_event(run: Run, rankers: dict[str, Answers], classes: Classes, values: np.ndarray) -> dict[str, Any]:
    """The share of test events that are hit, by a value of each event."""
    users = np.repeat(np.arange(len(run.queries)), [len(targets) for targets in run.queries.targets])
    places = classes.of(values)
    present = [place for place in range(len(classes.names)) if (places == place).any()]
    shares = {}
    for name, found in rankers.items():
        hits = hits_of(found.ranked[:, :_K], run.queries.targets)
        shares[name] = [share_of(hits[places == place], users[places == place]) for place in present]
    return {
        "names": [classes.names[place] for place in present],
        "counts": [int((places == place).sum()) for place in present],
        "recall@50": shares,
    }


def _written(found: tuple[float, float]) -> str:
    return f"{found[0]:.4f} ± {found[1]:.4f}"


def _pictures(by: dict[str, Any]) -> list[str]:
    said = {
        "history length": (
            "users",
            "Users by the events that the model knows of them. Long histories have more test events, of which 50"
            " answers can hold a smaller share: recall falls with length for every ranker.",
            "the model above popularity at every length.",
            "no better than popularity on the left is common; on the right it means that order says little.",
        ),
        "item popularity": (
            "test events",
            "Test events by how often training has seen their item, and the share that is hit.",
            "answers beyond the most popular items, where the other bars are empty.",
            "only the last bars stand: the model has learned popularity. Try loss.log_q and more uniform negatives.",
        ),
        "item age": (
            "test events",
            "Test events by the time since their item was first seen: less than a day, a week, a month ...",
            "bars of like height.",
            "nothing on the left: new items are never found. Declare features.items, and train or extend more often.",
        ),
    }
    pictures = []
    for name, found in by.items():
        for metric in (metric for metric in ("ndcg@50", "recall@50") if metric in found):
            unit, *words = said[name]
            pictures.append(_picture(name, metric, found, unit, words))
    return pictures


def _picture(name: str, metric: str, found: dict[str, Any], unit: str, words: Sequence[str]) -> str:
    made, axes = drawing()
    labels = [f"{label}\n{count:,}" for label, count in zip(found["names"], found["counts"], strict=True)]
    groups = {ranker: tuple(zip(*points, strict=True)) for ranker, points in found[metric].items()}
    bars(axes, labels, groups)
    key(axes)
    axes.set(ylabel=METRIC_NAMES[metric], xlabel=f"{name}, and number of {unit}")
    if len(labels) > 6:
        axes.tick_params(axis="x", labelsize=8)
    anchor = f"accuracy-{name}-{metric}".replace(" ", "-").replace("@", "-")
    return figure(svg(made, anchor, f"{METRIC_NAMES[metric]} by {name}"), f"{METRIC_NAMES[metric]} by {name}", *words)
