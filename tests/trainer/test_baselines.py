"""Baselines against slow oracles, and tuning against grids whose best is known."""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import pytest

from protos.errors import UserError
from tests.support.data_files import real_data
from trainer.baselines import (
    EASE,
    EASEConfig,
    ItemKNN,
    ItemKNNConfig,
    Popularity,
    PopularityConfig,
    UserSegments,
    UserSegmentsConfig,
    ease,
    tune,
)
from trainer.data import Items, Split, load, split
from trainer.evaluation import evaluate

KINDS = (Popularity, EASE, ItemKNN, UserSegments)
NOTHING_SEEN = np.array([], np.int32)


def planted(train: list[list[int]], num_items: int, **parts: list[list[int]]) -> Split:
    """A split with these rows in training, and nothing elsewhere unless given."""
    names = tuple(str(row) for row in range(num_items))
    events = {"train": train, "validation": [[]] * len(train), "test": [[]] * len(train)} | parts
    return Split(
        name="planted",
        method="chronological",
        user_ids=tuple(f"user-{user}" for user in range(len(train))),
        catalogue=Items(names, names, ((),) * num_items),
        **{part: [np.array(rows, np.int32) for rows in users] for part, users in events.items()},
    )


@pytest.fixture(scope="module")
def made() -> Split:
    return split(load("synthetic:users=120,items=80,interactions=2500,interests=5,seed=2"))


def _seen(parts: Split) -> np.ndarray:
    seen = np.zeros((len(parts.train), len(parts.catalogue)))
    for user, events in enumerate(parts.train):
        seen[user, events] = 1.0
    return seen


def test_popularity_ranks_by_count_then_row(made):
    counts = collections.Counter(row for events in made.train for row in events.tolist())
    histories = [made.train[0], NOTHING_SEEN]
    for history, ranked in zip(histories, Popularity.fit(made)(histories, 20), strict=True):
        unseen = [row for row in range(len(made.catalogue)) if row not in history.tolist()]
        assert ranked.tolist() == sorted(unseen, key=lambda row: (-counts[row], row))[:20]


def _ridge_weights(parts: Split, l2: float) -> np.ndarray:
    """Each item from all others, by least squares with l2 as extra rows."""
    seen, num_items = _seen(parts), len(parts.catalogue)
    weights = np.zeros((num_items, num_items))
    for item in range(num_items):
        others = np.arange(num_items) != item
        system = np.concatenate([seen[:, others], np.sqrt(l2) * np.eye(num_items - 1)])
        weights[others, item] = np.linalg.lstsq(system, np.append(seen[:, item], np.zeros(num_items - 1)))[0]
    return weights


def _knn_weights(parts: Split, neighbours: int, shrink: float) -> np.ndarray:
    users = [{user for user, events in enumerate(parts.train) if row in events} for row in range(len(parts.catalogue))]
    weights = np.zeros((len(users), len(users)))
    for item, own in enumerate(users):
        similar = []
        for other, others in enumerate(users):
            if other != item:
                similar.append((len(own & others) / ((len(own) * len(others)) ** 0.5 + shrink), other))
        for similarity, other in sorted(similar, key=lambda pair: (-pair[0], pair[1]))[:neighbours]:
            weights[other, item] = similarity
    return weights


@pytest.mark.parametrize("half_life", [None, 3.0])
@pytest.mark.parametrize(
    ("kind", "config", "oracle"),
    [
        (EASE, EASEConfig(l2=20.0), lambda parts: _ridge_weights(parts, 20.0)),
        (ItemKNN, ItemKNNConfig(neighbours=7, shrink=3.0), lambda parts: _knn_weights(parts, 7, 3.0)),
        (ItemKNN, ItemKNNConfig(neighbours=1000, shrink=0.0), lambda parts: _knn_weights(parts, 1000, 0.0)),
    ],
)
def test_item_to_item_scores_equal_the_oracle(made, kind, config, oracle, half_life):
    weights = oracle(made)
    ranker = kind.fit(made, dataclasses.replace(config, half_life=half_life))
    histories = [made.train[0], made.train[5], made.train[9][:1], NOTHING_SEEN]
    expected = np.zeros((len(histories), len(weights)))
    for row, history in enumerate(histories):
        for age, item in enumerate(reversed(history.tolist())):
            expected[row] += weights[item] * (1.0 if half_life is None else 0.5 ** (age / half_life))
    np.testing.assert_allclose(ranker.scores(histories), expected, rtol=1e-5, atol=1e-6)


def test_recency_turns_the_order():
    # Item 0 leads to 2 and item 1 to 3, equally.
    pairs = planted([[0, 2], [0, 2], [1, 3], [1, 3]], 4)
    histories = [np.array([0, 1]), np.array([1, 0])]
    assert ItemKNN.fit(pairs, ItemKNNConfig(half_life=1.0))(histories, 2).tolist() == [[3, 2], [2, 3]]
    assert ItemKNN.fit(pairs, ItemKNNConfig())(histories, 2).tolist() == [[2, 3], [2, 3]]
    np.testing.assert_allclose(
        ItemKNN.fit(pairs, ItemKNNConfig(shrink=0.0, half_life=1.0)).scores(histories[:1]), [[0.0, 0.0, 0.5, 1.0]]
    )


def test_neighbours_do_not_depend_on_the_block_size(made, monkeypatch):
    whole = ItemKNN.fit(made, ItemKNNConfig(neighbours=9)).scores(made.train)
    monkeypatch.setattr("trainer.baselines.histories._BLOCK_CELLS", 7 * len(made.catalogue))
    np.testing.assert_array_equal(ItemKNN.fit(made, ItemKNNConfig(neighbours=9)).scores(made.train), whole)
    monkeypatch.setattr("trainer.baselines.histories._BLOCK_CELLS", 1)
    np.testing.assert_array_equal(ItemKNN.fit(made, ItemKNNConfig(neighbours=9)).scores(made.train), whole)


def test_equal_neighbours_go_to_the_smaller_row():
    parts = planted([[0, 1, 2, 3]], 4)
    scores = ItemKNN.fit(parts, ItemKNNConfig(neighbours=1, shrink=0.0)).scores([[0], [1]])
    np.testing.assert_allclose(scores, [[0, 1, 1, 1], [1, 0, 0, 0]])  # item 0 keeps 1, all others keep 0


@pytest.mark.parametrize("kind", KINDS)
def test_empty_histories_and_empty_batches_are_answered(made, kind):
    ranker = kind.fit(made)
    assert ranker([], 5).shape == (0, 5)
    ranked = ranker([NOTHING_SEEN, made.train[3]], 5)
    np.testing.assert_array_equal(ranker([NOTHING_SEEN], 5), ranked[:1])
    assert len(set(ranked[0].tolist())) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_fits_and_ranks_are_repeatable_and_keep_the_contract(made, kind):
    queries = made.queries("test")
    first, second = kind.fit(made), kind.fit(made)
    evaluate(first, queries)  # raises where the contract is broken
    np.testing.assert_array_equal(first(queries.histories, 30), second(queries.histories, 30))


@pytest.mark.parametrize(
    ("kind", "config"),
    [(EASE, EASEConfig(l2=50.0)), (ItemKNN, ItemKNNConfig()), (UserSegments, UserSegmentsConfig(num_segments=5))],
)
def test_planted_interests_are_found(made, kind, config):
    queries = made.queries("test")
    rankers = Popularity.fit(made), kind.fit(made, config)
    popularity, personal = (evaluate(ranker, queries).means()["ndcg@50"] for ranker in rankers)
    assert personal > 1.2 * popularity


@pytest.fixture(scope="module")
def two_groups() -> Split:
    """Users 0 to 29 take 8 of items 0 to 19, the other 20 take 8 of items 20 to 39; the last took nothing."""
    rng = np.random.default_rng(4)
    return planted([rng.choice(20, 8, replace=False) + 20 * (user >= 30) for user in range(50)] + [[]], 40)


def test_segments_recover_planted_groups(two_groups):
    segments = UserSegments.fit(two_groups, UserSegmentsConfig(num_segments=2, num_factors=2)).segments(
        two_groups.train
    )
    assert set(segments[:30]) ^ set(segments[30:50]) == {0, 1}
    assert segments[50] == 2


def test_an_unseen_history_folds_into_its_group(two_groups):
    ranker = UserSegments.fit(two_groups, UserSegmentsConfig(num_segments=2, num_factors=2, smoothing=1.0))
    for history in ([3], [17, 5, 11, 2]):
        assert ranker.segments([np.array(history)]) == ranker.segments(two_groups.train[:1])
        assert ranker([np.array(history)], 10).max() < 20
    assert ranker([np.array([31, 22])], 10).min() >= 20


def test_segment_scores_are_smoothed_counts(two_groups):
    ranker = UserSegments.fit(two_groups, UserSegmentsConfig(num_segments=2, num_factors=2, smoothing=25.0))
    everyone = collections.Counter(row for events in two_groups.train for row in events.tolist())
    group = collections.Counter(row for events in two_groups.train[:30] for row in events.tolist())
    prior = np.array([25.0 * everyone[row] / everyone.total() for row in range(40)])
    expected = [[group[row] + prior[row] for row in range(40)], prior]
    np.testing.assert_allclose(ranker.scores([np.array([1, 2]), NOTHING_SEEN]), expected)


def test_more_segments_and_factors_than_users_are_not_an_error():
    assert UserSegments.fit(planted([[0, 1], [2]], 3))([np.array([0])], 2).tolist() == [[1, 2]]


@pytest.mark.parametrize("train", [[[0, 1]], [[0], [0]]])
def test_segments_of_one_user_or_one_item_are_refused(train):
    with pytest.raises(UserError, match="two users and two items"):
        UserSegments.fit(planted(train, 1 + max(map(max, train))))


@pytest.mark.parametrize("kind", [Popularity, EASE, ItemKNN])
def test_a_catalogue_of_one_item(kind):
    assert kind.fit(planted([[0]], 1))([NOTHING_SEEN, np.array([0])], 2).tolist() == [[0, -1], [-1, -1]]


def test_ease_refuses_a_large_catalogue():
    with pytest.raises(UserError, match=r"30,000 items of planted would take 10\.8 GB.* 20,000 items \(4\.8 GB\)"):
        EASE.fit(planted([[0]], 30_000))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EASEConfig(l2=0.0), "l2 of EASE is 0.0"),
        (lambda: EASEConfig(half_life=0.0), "half_life is 0.0"),
        (lambda: ItemKNNConfig(neighbours=0), "neighbours of ItemKNN is 0"),
        (lambda: ItemKNNConfig(shrink=-1.0), "shrink of ItemKNN is -1.0"),
        (lambda: ItemKNNConfig(half_life=-2.0), "half_life is -2.0"),
        (lambda: UserSegmentsConfig(num_segments=0), "num_segments of UserSegments is 0"),
        (lambda: UserSegmentsConfig(num_factors=0), "num_factors of UserSegments is 0"),
        (lambda: UserSegmentsConfig(smoothing=0.0), "smoothing of UserSegments is 0.0"),
    ],
)
def test_wrong_configurations_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def _fixed_order(parts: Split, order: tuple[int, ...]):
    """A ranker that gives these rows to everyone."""
    return lambda asked, k: np.tile(np.resize(np.array([*order] + [-1] * k), k), (len(asked), 1))


def test_tune_picks_the_best_and_of_equals_the_first():
    parts = planted([[0], [0]], 5, validation=[[3], [3]])
    grid = ((1, 2, 3), (1, 3, 2), (4, 3, 1), (1, 2, 4))
    ranker, config, score = tune(_fixed_order, grid, parts)
    assert config == (1, 3, 2)
    assert score == pytest.approx(1 / np.log2(3))
    assert ranker([NOTHING_SEEN], 3).tolist() == [[1, 3, 2]]


def test_tune_finds_that_the_last_event_matters_most():
    # Items 0 and 1, 2 and 3, ... go together; the last user goes on from 14, and unweighted 1, 3, ... are ranked first.
    train = [[row, row + 1] for row in range(0, 20, 2)] * 3 + [[*range(0, 12, 2), 14]]
    parts = planted(train, 20, validation=[[]] * 30 + [[15]])
    grid = [ItemKNNConfig(half_life=half_life) for half_life in (None, 1.0)]
    assert tune(ItemKNN.fit, grid, parts).config.half_life == 1.0


def test_tuning_does_not_read_the_test_part(made):
    @dataclasses.dataclass(frozen=True, eq=False)
    class Sealed(Split):
        def __getattribute__(self, name):
            assert name != "test", "the test part was read"
            return super().__getattribute__(name)

    sealed = Sealed(**{field.name: getattr(made, field.name) for field in dataclasses.fields(Split)})
    with pytest.raises(AssertionError, match="was read"):
        sealed.queries("test")
    for fit, grid in (
        (Popularity.fit, (PopularityConfig(),)),
        (EASE.sharing_fit(), (EASEConfig(),)),
        (ItemKNN.sharing_fit(), (ItemKNNConfig(),)),
        (UserSegments.fit, (UserSegmentsConfig(),)),
    ):
        assert tune(fit, grid, sealed)[1:] == tune(fit, grid, made)[1:]


def test_tune_needs_configurations(made):
    with pytest.raises(ValueError, match="no configurations"):
        tune(Popularity.fit, (), made)


def test_half_lives_share_a_fit(made, monkeypatch):
    solved = []
    inverse = ease.scipy.linalg.inv
    monkeypatch.setattr(
        ease.scipy.linalg, "inv", lambda *args, **options: solved.append(1) or inverse(*args, **options)
    )
    fit = EASE.sharing_fit()
    configs = [EASEConfig(l2, half_life) for l2 in (10.0, 90.0) for half_life in (None, 2.0, 7.0)]
    shared = [fit(made, config).scores(made.train) for config in configs]
    assert len(solved) == 2
    for config, scores in zip(configs, shared, strict=True):
        np.testing.assert_array_equal(scores, EASE.fit(made, config).scores(made.train))


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
