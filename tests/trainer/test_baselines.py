"""Popularity by counting, EASE against ridge regressions solved one item at a time."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from tests.support.data_files import real_data
from trainer.baselines import EASE, Popularity
from trainer.data import Split, load, split
from trainer.evaluation import evaluate


@pytest.fixture(scope="module")
def made() -> Split:
    return split(load("synthetic:users=120,items=80,interactions=2500,interests=5,seed=2"))


def test_popularity_ranks_by_count_then_row(made):
    counts = collections.Counter(row for events in made.train for row in events.tolist())
    histories = [made.train[0], np.array([], np.int32)]
    for history, ranked in zip(histories, Popularity.fit(made)(histories, 20), strict=True):
        unseen = [row for row in range(len(made.catalogue)) if row not in history.tolist()]
        assert ranked.tolist() == sorted(unseen, key=lambda row: (-counts[row], row))[:20]


def test_ease_equals_ridge_regressions(made):
    l2, num_items = 20.0, len(made.catalogue)
    seen = np.zeros((len(made.train), num_items))
    for user, events in enumerate(made.train):
        seen[user, events] = 1.0
    weights = np.zeros((num_items, num_items))
    for item in range(num_items):  # each item from all others, by least squares with l2 as extra rows
        others = np.arange(num_items) != item
        system = np.concatenate([seen[:, others], np.sqrt(l2) * np.eye(num_items - 1)])
        weights[others, item] = np.linalg.lstsq(system, np.append(seen[:, item], np.zeros(num_items - 1)))[0]
    histories = [made.train[user] for user in (0, 5, 9)]
    for history, ranked in zip(histories, EASE.fit(made, l2)(histories, 15), strict=True):
        scores = weights[history].sum(0)
        scores[history] = -np.inf
        assert ranked.tolist() == np.argsort(-scores, kind="stable")[:15].tolist()


def test_empty_histories_are_answered(made):
    for ranker in (Popularity.fit(made), EASE.fit(made, 10.0)):
        assert ranker([np.array([], np.int32)], 5).shape == (1, 5)


def test_ease_finds_planted_interests(made):
    queries = made.queries("test")
    popularity, ease = (evaluate(ranker, queries).means() for ranker in (Popularity.fit(made), EASE.fit(made, 50.0)))
    assert ease["ndcg@50"] > 1.2 * popularity["ndcg@50"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ml-latest-small", {"recall@50": 0.1200, "ndcg@50": 0.0723, "hr@10": 0.2262, "ndcg@10": 0.0486}),
        ("movietweetings-100k", {"recall@50": 0.3345, "ndcg@50": 0.1224, "hr@10": 0.1761, "ndcg@10": 0.0760}),
    ],
)
def test_popularity_on_real_data_is_as_published(name, expected):
    parts = split(load(real_data(name)))
    assert evaluate(Popularity.fit(parts), parts.queries("test")).means() == pytest.approx(expected, abs=5e-5)
