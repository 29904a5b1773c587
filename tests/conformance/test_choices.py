"""What a request may choose in `recommend` and `explain`: k, exclusions, categories, seen items, before the top k."""

from __future__ import annotations

import pytest

from tests.conformance.endpoint import ALL, outputs_of, ranked
from tests.conformance.test_answers import check_same, check_same_ranking

CHOOSING = ("recommend", "explain")


def best(endpoint, history, **choices):
    """The ranking of one history, which `recommend` and `explain` must agree on."""
    one = {name: [value] for name, value in {"k": ALL, **choices}.items()}
    found, explained = (ranked(endpoint.ask(name, [history], **one))[0] for name in CHOOSING)
    check_same_ranking(explained, found)
    return found


@pytest.mark.parametrize("name", CHOOSING)
def test_what_is_left_out_is_what_serving_default_does(endpoint, histories, name):
    if endpoint.settings.batching:
        pytest.skip("the server's batching joins inputs of equal batch sizes only: every input must be sent")
    request = endpoint.request(name, histories)
    for choice in endpoint.signatures[name].defaults:
        del request.inputs[choice]
    expected = endpoint.ask("serving_default", histories)
    check_same(outputs_of(endpoint.predict(request)), expected)
    check_same(endpoint.ask(name, histories), expected)


@pytest.mark.parametrize("name", CHOOSING)
def test_each_query_has_its_own_k(endpoint, history, everything, name):
    ks = [1, 0, len(everything), -1, 3, ALL, -(2**31)]
    rows = ranked(endpoint.ask(name, [history] * len(ks), k=ks))
    assert [len(row) for row in rows] == [min(max(k, 0), len(everything)) for k in ks]
    for row in rows:
        check_same_ranking(row, everything[: len(row)])


def test_k_of_nothing_for_all_is_an_empty_answer(endpoint, histories):
    rows = ranked(endpoint.ask("recommend", histories, k=[0] * len(histories)))
    assert rows == [[]] * len(histories)


def test_excluded_items_make_room_for_others(endpoint, history, everything):
    excluded = [item for item, _ in everything[:2]]
    assert best(endpoint, history, k=1, exclude_ids=[*excluded, "", "nobody's"]) == everything[2:3]


def test_everything_excluded_leaves_nothing(endpoint, history, everything):
    """Of a large catalogue, some rounds: each answers with items not excluded, none better than those that were."""
    excluded, worst = [], everything[0][1]
    for _ in range(3):
        found = best(endpoint, history, exclude_ids=excluded)
        assert not {item for item, _ in found} & set(excluded)
        assert not found or found[0][1] <= worst
        if not found:
            return
        excluded, worst = [*excluded, *(item for item, _ in found)], found[-1][1]


def test_seen_items_are_left_out_unless_they_are_included(endpoint, items):
    history = items[:3]
    with_seen = best(endpoint, history, include_seen=True)
    assert not {item for item, _ in best(endpoint, history, include_seen=False)} & set(history)
    without = [(item, score) for item, score in with_seen if item not in history]
    found = best(endpoint, history, include_seen=False)
    check_same_ranking(found[: len(without)], without)
    assert best(endpoint, history, include_seen=True, exclude_ids=history) == found


def test_unknown_categories_allow_nothing_and_deny_nothing(endpoint, history, everything):
    assert best(endpoint, history, allow_categories=["no such category"]) == []
    assert best(endpoint, history, deny_categories=["no such category"]) == everything
    assert best(endpoint, history, allow_categories=["", ""], deny_categories=[""]) == everything


def test_to_allow_and_to_deny_a_category_are_opposites(endpoint, history, everything, categories):
    for category in categories:
        allowed = best(endpoint, history, allow_categories=[category])
        denied = best(endpoint, history, deny_categories=[category])
        parts = {item for item, _ in allowed}, {item for item, _ in denied}
        assert not parts[0] & parts[1]
        assert sorted([*allowed, *denied], key=everything.index) == everything or len(everything) >= 1000
        assert best(endpoint, history, allow_categories=[category], deny_categories=[category]) == []


def test_categories_choose_before_the_top_k(endpoint, history, categories):
    for category in categories:
        allowed = best(endpoint, history, allow_categories=[category, "no such category"])
        assert best(endpoint, history, allow_categories=[category], k=2) == allowed[:2]
        without_best = [item for item, _ in allowed[:1]]
        assert best(endpoint, history, allow_categories=[category], exclude_ids=without_best, k=2) == allowed[1:3]


def test_every_query_of_a_batch_chooses_for_itself(endpoint, items, histories):
    asked = histories[:6]
    choices = {
        "k": [5, 0, 7, ALL, 2, 3],
        "exclude_ids": [[], items, items[:2], ["nobody's"], items[3:], []],
        "allow_categories": [[], [], [""], ["no such category"], [], []],
        "deny_categories": [[], [], ["no such category"], [], [], []],
        "include_seen": [True, False, True, True, False, False],
    }
    for name in CHOOSING:
        together = endpoint.ask(name, asked, **choices)
        for query, history in enumerate(asked):
            own = {choice: [values[query]] for choice, values in choices.items()}
            check_same(together, endpoint.ask(name, [history], **own), slice(query, query + 1))
