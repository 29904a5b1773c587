"""Made data has what was planted: interests, a long tail, drift; and is the same each time."""

from __future__ import annotations

import collections
import datetime
import time

import numpy as np
import pytest

from trainer.data.interactions import Interactions
from trainer.data.synthetic import SyntheticSpec, generate

SPEC = SyntheticSpec(users=300, items=800, interactions=24_000, interests=8, seed=3)


@pytest.fixture(scope="module")
def made() -> Interactions:
    return generate(SPEC)


def main_genre(interactions: Interactions) -> np.ndarray:
    """The number of each item's first genre."""
    names = sorted({genres[0] for genres in interactions.catalogue.genres})
    return np.array([names.index(genres[0]) for genres in interactions.catalogue.genres])


def test_sizes_are_those_asked(made):
    assert len(made.user_ids) == SPEC.users
    assert 0.95 * SPEC.items < len(made.catalogue) <= SPEC.items
    assert 0.9 * SPEC.interactions < len(made) <= 1.05 * SPEC.interactions
    assert np.bincount(made.users).min() >= 3
    assert len({genres[0] for genres in made.catalogue.genres}) == SPEC.interests


def test_same_seed_same_data(made):
    again = generate(SPEC)
    assert again.catalogue == made.catalogue
    assert again.user_ids == made.user_ids
    for name in ("users", "items", "times"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))


def test_another_seed_gives_other_data(made):
    other = generate(SyntheticSpec(**(vars(SPEC) | {"seed": SPEC.seed + 1})))
    assert len(other) != len(made) or not np.array_equal(other.items, made.items)


def test_titles_and_genres_show_the_interest(made):
    for title, genres in zip(made.catalogue.title, made.catalogue.genres, strict=True):
        assert 1 <= len(genres) <= 2
        assert title.startswith(" & ".join(genres))
    assert len(set(made.catalogue.title)) == len(made.catalogue)


def test_users_keep_to_few_interests(made):
    genre = main_genre(made)
    shares = []
    for user in range(SPEC.users):
        counts = collections.Counter(genre[made.items[made.users == user]].tolist())
        shares.append(sum(count for _, count in counts.most_common(3)) / sum(counts.values()))
    uniform = 3 / SPEC.interests
    assert np.mean(shares) > 1.8 * uniform


def test_the_next_event_often_has_the_interest_of_the_last(made):
    genre = main_genre(made)[made.items]
    same_user = made.users[1:] == made.users[:-1]
    stays = np.mean((genre[1:] == genre[:-1])[same_user])
    by_chance = np.sum((np.bincount(genre) / len(genre)) ** 2)
    assert stays > 2 * by_chance


def test_users_say_what_they_like_early_in_life(made):
    likes = made.user_features["likes"].to_pylist()
    first = np.unique(made.users, return_index=True)[1]
    genres = [set(made.catalogue.genres[made.items[event]]) for event in first]
    liked = np.mean([bool(named & {*wanted}) for named, wanted in zip(genres, likes, strict=True)])
    by_chance = np.mean([bool(named & {*wanted}) for named, wanted in zip(genres, likes[1:] + likes[:1], strict=True)])
    assert liked > 0.9 > 1.5 * by_chance
    years = [datetime.datetime.fromtimestamp(made.times[event], datetime.UTC).year for event in first]
    assert made.user_features["joined"].to_pylist() == years


def test_popularity_has_a_long_tail(made):
    counts = np.sort(np.bincount(made.items))[::-1]
    tenth = len(counts) // 10
    assert counts[:tenth].sum() > 0.3 * counts.sum()
    assert counts[-5 * tenth :].sum() < 0.25 * counts.sum()


def test_popularity_drifts(made):
    early, late = (
        np.bincount(made.items[chosen], minlength=len(made.catalogue))
        for chosen in (made.times < np.quantile(made.times, 0.3), made.times > np.quantile(made.times, 0.7))
    )
    top = [set(np.argsort(-counts, kind="stable")[:50].tolist()) for counts in (early, late)]
    assert len(top[0] & top[1]) < 30
    assert np.sum((early == 0) & (late > 0)) > 0.1 * len(early)


def test_movielens_1m_size_takes_seconds():
    """About 4 seconds of one core; the bound leaves room for a busy machine."""
    start = time.process_time()
    interactions = generate(SyntheticSpec(users=6_000, items=3_400, interactions=1_000_000, interests=24, seed=1))
    assert time.process_time() - start < 40
    assert len(interactions) > 850_000


@pytest.mark.parametrize("spec", [SyntheticSpec(1, 1, 1, 1), SyntheticSpec(3, 2, 1_000, 2), SyntheticSpec(50, 9, 1, 9)])
def test_tiny_sizes_work(spec):
    interactions = generate(spec)
    assert len(interactions.user_ids) == spec.users
