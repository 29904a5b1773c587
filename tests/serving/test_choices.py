"""What a query may choose, and every edge of it, through the servable as TensorFlow Serving runs it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.retrieval import AnswerOptions
from tests.serving.worlds import PRUNED, SIGNATURES, SUMS, ids_of, padded
from tests.support.exports import genres, item_ids, random_histories

LIMITED = AnswerOptions(5, max_k=12)
ALL = np.int32([1000])


def numbers(values):
    return np.array(values, np.int32)


def full_ranking(served, histories):
    """All ids of each query, best first, nothing left out."""
    answer = served.ask(histories, "recommend", k=ALL, include_seen=np.array([True]))
    return [ids_of(answer, query) for query in range(len(histories))]


@st.composite
def asked(draw, spec):
    """One query: a history and choices, as lists and numbers."""
    items = st.lists(st.sampled_from([*item_ids(spec), "", "nobody's"]), max_size=15)
    categories = st.lists(st.sampled_from(["Comedy", "Drama", "", "Unknown"]), max_size=2)
    k = st.sampled_from([-(2**31), 0, 1, 3, 1000, 2**31 - 1])
    return {
        "history": draw(items),
        "k": draw(k),
        "exclude_ids": draw(items),
        "allow_categories": draw(categories),
        "deny_categories": draw(categories),
        "include_seen": draw(st.booleans()),
    }


def expected_of(query, ranking, of_item):
    """The whole ranking, without what the query's choices leave out, cut."""
    allow, deny = set(query["allow_categories"]) - {""}, set(query["deny_categories"])
    out = {*query["exclude_ids"], *([] if query["include_seen"] else query["history"])}
    kept = [
        item
        for item in ranking
        if item not in out and not of_item[item] & deny and (not allow or of_item[item] & allow)
    ]
    return kept[: max(query["k"], 0)]


@pytest.mark.parametrize("sums", SUMS)
@settings(max_examples=25)
@given(data=st.data())
def test_an_answer_is_the_ranking_without_what_was_left_out(world, sums, data):
    served = world(index_spec=PRUNED, sums=sums)
    of_item = {item: set(names) for item, names in zip(item_ids(served.spec), genres(served.spec), strict=True)}
    queries = data.draw(st.lists(asked(served.spec), min_size=1, max_size=4))
    columns = {name: [query[name] for query in queries] for name in queries[0]}
    k, include_seen = numbers(columns.pop("k")), np.array(columns.pop("include_seen"))
    lists = {name: padded(values) for name, values in columns.items()}
    answer = served.served.run("recommend", {**lists, "k": k, "include_seen": include_seen})
    rankings = full_ranking(served, [query["history"] for query in queries])
    expected = [expected_of(query, ranking, of_item) for query, ranking in zip(queries, rankings, strict=True)]
    assert [ids_of(answer, query) for query in range(len(queries))] == expected
    assert answer["valid"].shape == (len(queries), max(map(len, expected)))


@pytest.mark.parametrize("answers", [LIMITED, AnswerOptions(5, keep_seen=True, max_k=12)])
def test_without_choices_a_query_is_answered_by_the_exports_defaults(world, answers):
    served = world(index_spec=PRUNED, answers=answers)
    histories = random_histories(served.spec, 8, seed=3)
    default, chosen = served.ask(histories), served.ask(histories, "recommend")
    assert default["valid"].shape == (8, 5)
    for name, values in chosen.items():
        np.testing.assert_array_equal(values, default[name], err_msg=name)
    spelled = {"k": numbers([5] * 8), "include_seen": np.full(8, answers.keep_seen)}
    nothing = {name: padded([[""]] * 8) for name in ("exclude_ids", "allow_categories", "deny_categories")}
    for name, values in served.ask(histories, "recommend", **spelled, **nothing).items():
        np.testing.assert_array_equal(values, chosen[name], err_msg=name)


def test_k_is_held_to_the_exported_most(world):
    served = world(index_spec=PRUNED, answers=LIMITED)
    answer = served.ask([["item-3"]] * 3, "recommend", k=numbers([1000, 12, 2]))
    assert answer["valid"].sum(axis=1).tolist() == [12, 12, 2]
    assert ids_of(answer, 0)[:2] == ids_of(answer, 2)


@pytest.mark.parametrize("signature", ["recommend", "explain"])
@pytest.mark.parametrize("sums", SUMS)
def test_where_nothing_is_left_answers_have_no_width(world, sums, signature):
    served = world(index_spec=PRUNED, sums=sums)
    everything = padded([item_ids(served.spec)] * 2)
    for choices in (
        {"exclude_ids": everything},
        {"k": numbers([0, -7])},
        {"allow_categories": padded([["nobody's"]] * 2)},
        {"deny_categories": padded([["Drama"]] * 2)},  # which every item is
        {"allow_categories": padded([["Comedy"]] * 2), "deny_categories": padded([["Comedy"]] * 2)},
    ):
        answer = served.ask([["item-1"], []], signature, **choices)
        shapes = {name: answer[name].shape for name in ("item_ids", "scores", "valid")}
        assert shapes == dict.fromkeys(shapes, (2, 0)), choices
        assert answer["keys"].shape == (2, 6)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_histories_of_nothing_known_are_answered_alike(world, signature):
    """Width 0, padding, and unknown ids, alone and beside a known query."""
    served = world(index_spec=PRUNED)
    empty = served.served.run(signature, {"history": np.zeros((1, 0), object)})
    if signature != "encode":
        assert ids_of(empty, 0)
    known = ["item-4"] * 3
    for history in ([""], ["nobody's"], ["", "nobody's", ""]):
        answer = served.ask([history, known], signature)
        for name, values in empty.items():
            found = answer[name][:1, : values.shape[1]]  # beside a longer answer it is filled up
            np.testing.assert_array_equal(found, values, err_msg=f"{name} of {history}")


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("sums", SUMS)
def test_a_batch_of_nothing_has_an_empty_answer(world, sums, signature):
    answer = world(index_spec=PRUNED, sums=sums).ask([], signature)
    assert {len(values) for values in answer.values()} == {0}


def test_choices_of_one_row_count_for_every_query_and_of_a_wrong_number_are_refused(world):
    served = world(index_spec=PRUNED)
    answer = served.ask([["item-1"], [], ["item-3"]], "recommend", k=numbers([2]))
    assert answer["valid"].tolist() == [[True, True]] * 3
    with pytest.raises(tf.errors.InvalidArgumentError, match="Incompatible shapes"):
        served.ask([["item-1"], [], ["item-3"]], "recommend", k=numbers([2, 2]))
