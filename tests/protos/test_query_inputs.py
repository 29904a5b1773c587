"""Inputs beside the history: what a manifest says of them, and their tensors against plain nested lists."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.query_inputs import QueryInput, query_inputs, tensors

WIDTH = 3
KINDS = ("category", "multi_category", "number", "text", "vector")
PLACES = ("event", "user")
VALUES = {
    "category": st.text(min_size=1, max_size=3),
    "text": st.text(min_size=1, max_size=3),
    "number": st.floats(width=32, allow_nan=False),
    "multi_category": st.lists(st.none() | st.text(min_size=1, max_size=3), max_size=4),
    "vector": st.lists(st.none() | st.floats(width=32, allow_nan=False), min_size=WIDTH, max_size=WIDTH),
}


def made(place: str, kind: str) -> QueryInput:
    return QueryInput("x", place, kind, WIDTH if kind == "vector" else None)


def same(found, expected) -> bool:
    return found == expected or (isinstance(found, float) and math.isnan(found) and math.isnan(expected))


def require_value(found, value, missing) -> None:
    """Holds a slice of a tensor against the value that it was made of, None being missing."""
    if not isinstance(found, list):
        assert same(found, missing if value is None else value)
        return
    given_values = value or []
    for place, element in enumerate(found):
        require_value(element, given_values[place] if place < len(given_values) else None, missing)
    assert len(found) >= len(given_values)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_tensor_holds_every_value_at_its_place_and_nothing_else(place, kind, data):
    value = st.none() | VALUES[kind]
    queries = data.draw(st.lists(st.none() | st.lists(value, max_size=5) if place == "event" else value, max_size=4))
    feature = made(place, kind)
    found = feature.padded(queries, 6)
    assert found.shape[0] == len(queries)
    assert found.ndim == feature.rank
    assert found.dtype == (object if feature.dtype == "string" else np.float32)
    if place == "event":
        assert found.shape[1] == 6
    if kind == "vector":
        assert found.shape[-1] == WIDTH
    for row, query in zip(found.tolist(), queries, strict=True):
        require_value(row, query, feature.missing)


def test_what_a_manifest_says_is_read_again():
    inputs = tuple(made(place, kind) for place in PLACES for kind in KINDS)
    described = json.loads(json.dumps({"query_inputs": [each.as_json() for each in inputs]}))
    assert query_inputs(described) == inputs
    assert [each["rank"] for each in described["query_inputs"]] == [2, 3, 2, 2, 3, 1, 2, 1, 1, 2]
    assert [each["dtype"] for each in described["query_inputs"]] == 2 * [
        "string",
        "string",
        "float32",
        "string",
        "float32",
    ]
    assert query_inputs({}) == ()


def test_histories_and_inputs_have_one_length():
    feature = QueryInput("rating", "event", "number")
    found = tensors({"history": [["a", "b"], None], "rating": [[1.0, None], None]}, [feature])
    assert list(found) == ["history", "rating"]
    assert found["history"].tolist() == [["a", "b"], ["", ""]]
    np.testing.assert_array_equal(found["rating"], np.array([[1, np.nan], [np.nan, np.nan]], np.float32))
    assert tensors({"history": [[]]}, [])["history"].tolist() == [[""]]
    wide = tensors({"history": [["a"]], "rating": [[2.0]]}, [feature], width=3)
    assert [array.shape for array in wide.values()] == [(1, 3), (1, 3)]


@pytest.mark.parametrize(
    ("place", "kind", "values", "message"),
    [
        ("event", "number", [[1.0, 2.0, 3.0]], "x has 3 values for one query; expected at most 2"),
        ("event", "vector", [[[1.0, 2.0]]], "x has a vector of 2 numbers; expected 3"),
        ("user", "vector", [[1.0] * 4], "x has a vector of 4 numbers; expected 3"),
    ],
)
def test_values_that_do_not_fit_are_errors(place, kind, values, message):
    with pytest.raises(ValueError, match=message):
        made(place, kind).padded(values, 2)
