"""The measures, each against its definition spelt out query by query."""

from __future__ import annotations

import math

import numpy as np
import pytest

from beam_index.quality import measures
from beam_index.quality.best import Best
from beam_index.quality.skew import code_use, lengths
from protos.codes import CodeSpace


def random_rows(rng, queries: int, width: int, items: int = 30) -> np.ndarray:
    """Rows without repetition, -1 after the last answer; some queries have none."""
    rows = np.full((queries, width), -1)
    for query in range(queries):
        count = rng.integers(0, width + 1)
        rows[query, :count] = rng.permutation(items)[:count]
    return rows


def there(rows: np.ndarray) -> list[int]:
    return [row for row in rows.tolist() if row != -1]


@pytest.mark.parametrize("k", [1, 4, 12])
def test_overlap_is_the_share_of_exact_answers_found(k):
    rng = np.random.default_rng(k)
    found, exact = random_rows(rng, 40, 12), random_rows(rng, 40, 12)
    for query, value in enumerate(measures.overlap(found, exact, k)):
        wanted = set(there(exact[query, :k]))
        if wanted:
            assert value == len(wanted & set(there(found[query, :k]))) / len(wanted)
        else:
            assert math.isnan(value)


@pytest.mark.parametrize("k", [1, 4, 12])
def test_dcg_ratio_weighs_answers_by_their_exact_scores(k):
    rng = np.random.default_rng(k)
    found, exact = rng.random((40, 12)).astype(np.float32), -np.sort(-rng.random((40, 12)), axis=1).astype(np.float32)
    exact[3] = 0

    def dcg(gains) -> float:
        return sum(float(gain) / math.log2(rank + 1) for rank, gain in enumerate(gains[:k], start=1))

    ratios = measures.dcg_ratio(Best(None, None, found), Best(None, None, exact), k)
    for query, value in enumerate(ratios):
        expected = dcg(found[query]) / dcg(exact[query]) if query != 3 else math.nan
        assert value == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("k", [1, 4, 12])
def test_ndcg_and_recall_are_those_of_the_trainers_evaluation(k):
    rng = np.random.default_rng(k)
    found = random_rows(rng, 40, 12)
    relevant = [rng.integers(-1, 30, rng.integers(0, 6)) for _ in range(40)]
    pairs = zip(measures.ndcg(found, relevant, k), measures.recall(found, relevant, k), strict=True)
    for query, (ndcg, recall) in enumerate(pairs):
        targets = relevant[query].tolist()
        if not targets:
            assert math.isnan(ndcg)
            assert math.isnan(recall)
            continue
        hits = [rank for rank, row in enumerate(found[query, :k].tolist(), start=1) if row != -1 and row in targets]
        ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(targets)) + 1))
        assert ndcg == pytest.approx(sum(1 / math.log2(rank + 1) for rank in hits) / ideal)
        assert recall == pytest.approx(len(hits) / len(targets))


def test_means_leave_out_what_was_not_there():
    assert measures.mean(np.array([1.0, math.nan, 0.0])) == 0.5
    assert measures.mean(np.array([math.nan])) is None
    assert measures.mean(np.zeros(0)) is None


@pytest.mark.parametrize("counts", [[5], [3, 3, 3], [0, 0, 9], [1, 2, 3, 10], [0, 7, 1, 1, 4]])
def test_gini_is_the_mean_difference_over_twice_the_mean(counts):
    differences = sum(abs(one - other) for one in counts for other in counts) / len(counts) ** 2
    assert measures.gini(np.array(counts)) == pytest.approx(differences / (2 * sum(counts) / len(counts)))


def test_gini_of_nothing_is_none():
    assert measures.gini(np.zeros(3)) is None
    assert measures.gini(np.zeros(0)) is None


def test_perplexity_is_the_number_of_codes_where_all_are_used_equally():
    assert measures.perplexity(np.array([4, 4, 0, 4])) == pytest.approx(3)
    assert measures.perplexity(np.array([9])) == pytest.approx(1)
    assert measures.perplexity(np.array([3, 1])) == pytest.approx(2 ** (0.75 * math.log2(4 / 3) + 0.25 * 2))
    assert measures.perplexity(np.zeros(0)) == 0


@pytest.mark.parametrize("longest", [1, 7, 19, 20, 21, 1000])
def test_the_classes_of_a_histogram_hold_every_list_once(longest):
    rng = np.random.default_rng(longest)
    counts = np.concatenate([[longest, 0], rng.integers(0, longest + 1, 50)])
    found = lengths(counts)
    assert (found.count, found.empty) == (52, (counts == 0).sum())
    assert found.quantiles["min"] == 0
    assert found.quantiles["max"] == longest
    assert found.quantiles["median"] == sorted(counts)[25]
    assert len(found.histogram) <= 21
    assert found.histogram[0] == (0, 0, found.empty)
    for least, greatest, number in found.histogram:
        assert number == sum(least <= count <= greatest for count in counts)
    assert sum(number for *_, number in found.histogram) == 52


def test_no_lists_have_no_lengths():
    assert lengths(np.zeros(0, np.int64)) == lengths(np.zeros(0, np.int64))
    assert lengths(np.zeros(0, np.int64)).count == 0


def test_use_of_codes_is_told_slot_by_slot():
    keys = np.array([[0, 4, 9], [1, 4, 9], [1, 4, 8], [1, 5, 8]])
    first, second, third = code_use(keys, CodeSpace(3, 1, 4))
    assert (first.slot, first.codes, first.tokens, first.used, first.counts) == (0, 4, 4, 2, (3, 1))
    assert first.most_used_share == 0.75
    assert second.counts == (3, 1)
    assert (third.counts, third.perplexity) == ((2, 2), pytest.approx(2))


def test_slots_that_share_codebooks_are_one_and_no_tokens_use_nothing():
    (use,) = code_use(np.array([[3, 15], [3, 3]]), CodeSpace(1, 2, 4))
    assert (use.codes, use.tokens, use.counts) == (16, 4, (3, 1))
    (use,) = code_use(np.zeros((0, 2), np.int64), CodeSpace(1, 2, 4))
    assert (use.tokens, use.used, use.perplexity, use.most_used_share) == (0, 0, 0.0, None)
