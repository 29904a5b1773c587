"""Queries as tensors: nothing lost, nothing added but what is missing, and few shapes."""

import math

import hypothesis
import hypothesis.strategies as st
import pytest

from serving.client import Query, QueryError, Signature, TensorSpec
from serving.client.queries import as_queries, fixed_width, tensors

SIGNATURE = Signature(
    {
        "history": TensorSpec("string", (None, None)),
        "k": TensorSpec("int32", (None,), [7]),
        "exclude_ids": TensorSpec("string", (None, None), [[b""]]),
        "allow_categories": TensorSpec("string", (None, None), [[b""]]),
        "deny_categories": TensorSpec("string", (None, None), [[b""]]),
        "include_seen": TensorSpec("bool", (None,), [False]),
        "device": TensorSpec("string", (None,)),
        "age": TensorSpec("float32", (None,)),
        "taste": TensorSpec("float32", (None, 3)),
        "ratings": TensorSpec("float32", (None, None)),
        "genres": TensorSpec("string", (None, None, None)),
        "images": TensorSpec("float32", (None, None, 2)),
    },
    {},
)
ids = st.lists(st.text(min_size=1, max_size=3), max_size=70)
options = st.fixed_dictionaries(
    {"history": ids, "exclude_ids": ids, "k": st.none() | st.integers(1, 9), "include_seen": st.none() | st.booleans()}
)


@hypothesis.given(st.lists(options, min_size=1, max_size=3))
def test_nothing_is_lost_and_the_rest_is_padding(rows):
    sent = tensors([Query(**row) for row in rows], SIGNATURE)
    assert sent.keys() == SIGNATURE.inputs.keys()
    for name in ("history", "exclude_ids"):
        for row, given in zip(sent[name].nested(), rows, strict=True):
            assert [item for item in row if item not in ("", b"")] == given[name]
    assert sent["k"].nested() == [7 if row["k"] is None else row["k"] for row in rows]
    assert sent["include_seen"].nested() == [bool(row["include_seen"]) for row in rows]
    for tensor in sent.values():
        assert tensor.shape[0] == len(rows)
        assert len(tensor.values) == math.prod(tensor.shape)


@pytest.mark.parametrize(("longest", "width"), [(0, 32), (1, 32), (32, 32), (33, 64), (65, 128), (200, 256)])
def test_widths_are_powers_of_two(longest, width):
    assert fixed_width(longest, 32) == width
    assert tensors([Query(["a"] * longest), Query()], SIGNATURE)["history"].shape == (2, width)


def test_queries_of_all_kinds_have_one_shape():
    """So that the server's own batching may join their requests."""
    plain = tensors([Query()], SIGNATURE)
    rich = tensors([Query(["1"] * 32, 3, ["4"], ["a"], ["b"] * 8, True, {"device": "tv"})], SIGNATURE)
    assert {name: tensor.shape for name, tensor in plain.items()} == {
        name: tensor.shape for name, tensor in rich.items()
    }


def test_features_of_events_are_as_wide_as_the_history():
    features = {"ratings": [5, None], "genres": [["a", "b"], None], "images": [None, [1, 2]]}
    sent = tensors([Query(["x", "y"], features=features), Query(["z"] * 40)], SIGNATURE)
    assert sent["history"].shape == sent["ratings"].shape == (2, 64)
    assert sent["genres"].shape == (2, 64, 8)
    assert sent["images"].shape == (2, 64, 2)
    first = {name: sent[name].nested()[0][:3] for name in features}
    assert first["ratings"][0] == 5
    assert all(map(math.isnan, first["ratings"][1:]))
    assert first["genres"] == [["a", "b", *[""] * 6], [""] * 8, [""] * 8]
    assert first["images"][1] == [1, 2]
    assert all(map(math.isnan, first["images"][0] + first["images"][2]))


def test_features_of_users_are_one_value():
    sent = tensors([Query(features={"device": "tv", "age": 30, "taste": [1, 2, 3]}), Query()], SIGNATURE)
    assert sent["device"].nested() == ["tv", ""]
    assert sent["age"].nested()[0] == 30
    assert math.isnan(sent["age"].nested()[1])
    assert sent["taste"].nested()[0] == [1, 2, 3]
    assert all(map(math.isnan, sent["taste"].nested()[1]))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(features={"mood": 1}), "query 1: mood is no input of the signature asked; it takes age, allow_"),
        (Query(features={"taste": [1, 2]}), "query 1, taste: found 2 values, the model takes 3"),
        (Query(features={"device": ["tv"]}), r"query 1, device: found the list \['tv'\], expected one value"),
        (Query(features={"ratings": 5}), "query 1, ratings: found 5, expected a list"),
        (Query(exclude_ids="12"), "query 1, exclude_ids: found '12', expected a list"),
    ],
)
def test_what_the_model_has_no_place_for(query, message):
    with pytest.raises(QueryError, match=message):
        tensors([Query(), query], SIGNATURE)


def test_histories_are_queries():
    assert as_queries([["1"], Query(["2"], k=3)]) == [Query(["1"]), Query(["2"], k=3)]
    with pytest.raises(TypeError, match="the history '12' is one string"):
        as_queries([Query("12")])
