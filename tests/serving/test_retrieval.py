"""The servable from end to end: every edge of its inputs."""

from __future__ import annotations

import numpy as np
import pytest

from serving.retrieval import AnswerOptions
from tests.serving.worlds import EVERYTHING_SEEN_TOO, PRUNED, SUMS, ids_of
from tests.support.exports import item_ids, random_histories


@pytest.mark.parametrize("quantizer", ["product", "residual"])
@pytest.mark.parametrize("sums", SUMS)
def test_fallback_is_reported_and_served(world, quantizer, sums):
    served = world(quantizer, PRUNED, sums)
    histories = random_histories(served.spec, 30, seed=5)
    answer, query = served.ask(histories), served.query(histories)
    np.testing.assert_array_equal(answer["codes"], query["codes"])
    quantized = np.arange(query["keys"].shape[1]) < served.num_tokens
    np.testing.assert_array_equal(answer["fallback"], ~np.isin(query["keys"], PRUNED.keys) & quantized)
    assert answer["fallback"].any()
    assert not answer["fallback"][:, quantized].all()
    np.testing.assert_array_equal(answer["keys"][~answer["fallback"]], query["keys"][~answer["fallback"]])
    assert np.isin(answer["keys"][:, quantized], PRUNED.keys).all()


@pytest.mark.parametrize("sums", SUMS)
def test_padding_and_unknown_ids_change_nothing(world, sums):
    served = world(sums=sums)
    plain = served.ask([["item-3", "item-9"]])
    for history in (
        ["", "item-3", "", "item-9", ""],
        ["item-3", "nobody's", "item-9"],
        ["item-3", "item-9", *[""] * 20],
    ):
        same = served.ask([history])
        for name, values in plain.items():
            np.testing.assert_array_equal(same[name], values, err_msg=f"{name} of {history}")


@pytest.mark.parametrize("sums", SUMS)
def test_a_query_is_answered_alike_in_any_batch(world, sums):
    served = world("product", PRUNED, sums)
    histories = random_histories(served.spec, 8, seed=6)
    together = served.ask(histories)
    for query, history in enumerate(histories):
        alone = served.ask([history])
        if sums == "rescored":  # a matrix product has other last bits at other widths
            np.testing.assert_allclose(alone.pop("scores")[0], together["scores"][query], rtol=1e-5, atol=1e-7)
        for name, values in alone.items():
            np.testing.assert_array_equal(values[0], together[name][query])


@pytest.mark.parametrize("history", [[""], ["nobody's"], ["", "nobody's", ""]])
def test_a_history_of_nothing_known_is_answered(world, history):
    served = world()
    answer = served.ask([history])
    assert len(ids_of(answer, 0)) == np.count_nonzero(served.token_scores([[""]]))
    assert (answer["keys"][0, served.num_tokens :] == -1).all()


@pytest.mark.parametrize("sums", SUMS)
def test_an_empty_batch_has_empty_answers(world, sums):
    served = world(sums=sums)
    answer = served.ask([])
    assert {name: values.shape for name, values in answer.items()} == {
        "item_ids": (0, 1000),
        "scores": (0, 1000),
        "valid": (0, 1000),
        "codes": (0, 3, 1),
        "keys": (0, 6),
        "fallback": (0, 6),
    }


@pytest.mark.parametrize("sums", SUMS)
def test_seen_items_are_excluded_before_the_top_k(world, sums):
    """k items are returned although the best ones were seen, some of them twice."""
    served = world(sums=sums, answers=AnswerOptions(5))
    everything = world(sums=sums, answers=EVERYTHING_SEEN_TOO)
    histories = random_histories(served.spec, 20, seed=7)
    first = everything.ask(histories)
    longer = [[*history, *history[:2], *ids_of(first, query)[:10]] for query, history in enumerate(histories)]
    all_items, answer = everything.ask(longer), served.ask(longer)
    best_were_seen = 0
    for query, history in enumerate(longer):
        best = ids_of(all_items, query)
        best_were_seen += bool(set(best[:5]) & set(history))
        assert ids_of(answer, query) == [item for item in best if item not in history][:5]
    assert best_were_seen > 5


def test_everything_seen_leaves_nothing(world):
    served = world()
    answer = served.ask([item_ids(served.spec), ["item-1"]])
    assert ids_of(answer, 0) == []
    assert ids_of(answer, 1)


def test_keep_seen_returns_the_history_too(world):
    served = world(answers=EVERYTHING_SEEN_TOO)
    histories = random_histories(served.spec, 5)
    expected = served.token_scores(histories) + served.event_scores(histories)
    answer = served.ask(histories)
    for query in range(5):
        assert len(ids_of(answer, query)) == np.count_nonzero(expected[query])
