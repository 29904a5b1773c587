"""Metrics against a slow oracle; rankers that cheat are found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.splits import EvaluationQueries
from trainer.evaluation import METRICS, Metrics, evaluate, top_k_unseen

NUM_ITEMS = 30


def make_queries(histories: list[list[int]], targets: list[list[int]]) -> EvaluationQueries:
    users = np.arange(len(histories), dtype=np.int32) * 10
    return EvaluationQueries(
        users, [np.array(rows, np.int32) for rows in histories], [np.array(rows, np.int32) for rows in targets]
    )


@st.composite
def worlds(draw) -> tuple[EvaluationQueries, list[list[int]]]:
    """Queries, and for each a whole ranking of the unseen items with gaps."""
    histories, targets, rankings = [], [], []
    for _ in range(draw(st.integers(1, 7))):
        order = draw(st.permutations(range(NUM_ITEMS)))
        seen = draw(st.integers(0, 8))
        wanted = draw(st.integers(0, 15))
        missing = draw(st.integers(0 if wanted else 1, 3))
        histories.append(order[:seen])
        targets.append(order[seen : seen + wanted] + [-1] * missing)
        ranking = draw(st.permutations(order[seen:]))
        gap = draw(st.integers(0, len(ranking)))
        rankings.append([*ranking[:gap], -1, *ranking[gap:]])
    return make_queries(histories, targets), rankings


def rank_by(rankings: list[list[int]], histories: list[np.ndarray], all_histories: list[np.ndarray], k: int):
    """Answers with the ranking of whichever query is asked, found by identity."""
    places = [next(n for n, known in enumerate(all_histories) if known is history) for history in histories]
    return np.array([(rankings[place] + [-1] * k)[:k] for place in places], np.int32)


def oracle(name: str, ranking: list[int], targets: list[int]) -> float:
    kind, at = name.split("@")
    first = ranking[: int(at)]
    gains = [1.0 if row != -1 and row in targets else 0.0 for row in first]
    if kind == "recall":
        return sum(gains) / len(targets)
    if kind == "hr":
        return float(any(gains))
    best = sum(1 / math.log2(rank + 2) for rank in range(min(int(at), len(targets))))
    return sum(gain / math.log2(rank + 2) for rank, gain in enumerate(gains)) / best


@given(worlds(), st.integers(1, 5), st.sampled_from([METRICS, ("ndcg@3",), ("hr@1", "recall@5", "recall@10")]))
@settings(deadline=None)
def test_metrics_equal_the_oracle(world, batch_size, metrics):
    queries, rankings = world
    found = evaluate(
        lambda histories, k: rank_by(rankings, histories, queries.histories, k), queries, metrics, batch_size
    )
    assert list(found.per_user) == list(metrics)
    for name in metrics:
        expected = [
            oracle(name, ranking, targets.tolist()) for ranking, targets in zip(rankings, queries.targets, strict=True)
        ]
        np.testing.assert_allclose(found.per_user[name], expected, rtol=1e-12)
        assert found.means()[name] == pytest.approx(sum(expected) / len(expected))


def test_by_hand():
    queries = make_queries([[5]], [[3, 1, -1]])
    found = evaluate(lambda histories, k: np.array([[7, 1, -1, 3]])[:, :k], queries, ("recall@4", "ndcg@4", "hr@1"))
    gain = 1 / math.log2(3) + 1 / math.log2(5)
    assert found.means() == pytest.approx(
        {"recall@4": 2 / 3, "ndcg@4": gain / (1 + 1 / math.log2(3) + 1 / 2), "hr@1": 0.0}
    )


def test_perfect_lists_score_one():
    queries = make_queries([[0], [1]], [[2, 3], [4]])
    found = evaluate(lambda histories, k: np.array([[2, 3, 9], [4, 5, 6]])[: len(histories)], queries, ("ndcg@3",))
    assert found.per_user["ndcg@3"].tolist() == [1.0, 1.0]


def test_standard_errors():
    metrics = Metrics({"hr@10": np.array([0.0, 1.0, 1.0, 0.0])})
    assert metrics.standard_errors()["hr@10"] == pytest.approx(math.sqrt(1 / 3) / 2)
    assert math.isnan(Metrics({"hr@10": np.array([1.0])}).standard_errors()["hr@10"])


def test_batches_ask_for_the_largest_k():
    asked = []

    def ranker(histories, k):
        asked.append((len(histories), k))
        return np.full((len(histories), k), -1)

    found = evaluate(ranker, make_queries([[]] * 5, [[1]] * 5), ("hr@2", "ndcg@7"), batch_size=2)
    assert asked == [(2, 7), (2, 7), (1, 7)]
    assert found.means() == {"hr@2": 0.0, "ndcg@7": 0.0}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (np.array([[1, 2, 3]]), "row 2 at rank 2 for user 0: it is in the history"),
        (np.array([[1, 4, 1]]), "row 1 at rank 3 for user 0: it is there twice"),
        (np.array([[1, 4]]), r"returned int64 \(1, 2\), expected integer rows \(1, 3\)"),
        (np.array([[1.0, 4.0, 5.0]]), r"returned float64 \(1, 3\), expected integer rows"),
        (np.array([[1, 4, -2]]), "returned row -2; rows are >= 0"),
    ],
)
def test_rankers_that_break_the_contract_are_found(answer, text):
    with pytest.raises(ValueError, match=text):
        evaluate(lambda histories, k: answer, make_queries([[2, 7]], [[3]]), ("hr@3",))


def test_a_row_of_anothers_history_is_no_cheat():
    queries = make_queries([[2], [3]], [[3], [2]])
    found = evaluate(lambda histories, k: np.array([[3], [2]]), queries, ("hr@1",))
    assert found.means() == {"hr@1": 1.0}


@pytest.mark.parametrize("name", ["map@10", "ndcg", "ndcg@0", "ndcg@-1", "recall@x"])
def test_unknown_metric(name):
    with pytest.raises(ValueError, match=f"metric '{name}' is unknown"):
        evaluate(lambda histories, k: None, make_queries([[1]], [[2]]), (name,))


def test_no_queries():
    with pytest.raises(ValueError, match="no queries"):
        evaluate(lambda histories, k: None, make_queries([], []))


@st.composite
def scored(draw) -> tuple[np.ndarray, list[np.ndarray], int]:
    """Scores with many ties and some -inf, histories that may hold everything, and k from 1 past the catalogue."""
    batch, items = draw(st.integers(0, 4)), draw(st.integers(1, 12))
    values = st.sampled_from([-np.inf, -1.0, 0.0, 0.0, 0.5, 2.0])
    scores = [[draw(values) for _ in range(items)] for _ in range(batch)]
    histories = [np.array(draw(st.lists(st.integers(0, items - 1))), np.int32) for _ in range(batch)]
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return np.array(scores, dtype).reshape(batch, items), histories, draw(st.integers(1, 14))


@given(scored())
@settings(deadline=None, max_examples=300)
def test_top_k_unseen_equals_sorting(world):
    scores, histories, k = world
    before = scores.copy()
    expected = []
    for row, history in zip(scores, histories, strict=True):
        unseen = [item for item in range(len(row)) if item not in history.tolist() and row[item] > -np.inf]
        best = sorted(unseen, key=lambda item: (-row[item], item))[:k]
        expected.append(best + [-1] * (k - len(best)))
    ranked = top_k_unseen(scores, histories, k)
    assert ranked.dtype == np.int32
    assert ranked.tolist() == expected
    np.testing.assert_array_equal(scores, before)


def test_top_k_unseen_refuses_nan():
    with pytest.raises(ValueError, match="nan"):
        top_k_unseen(np.array([[1.0, np.nan]]), [np.array([0])], 1)
