"""Queries that contradict the contract of what they bring: found, named, and told from those that only miss values."""

from __future__ import annotations

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_index.query_columns import column_type, open_queries
from beam_index.query_faults import bad_queries, faults, sound, sound_features
from protos.errors import UserError
from protos.query_inputs import QueryInput

RATING = QueryInput("rating", "event", "number")
TAGS = QueryInput("tags", "event", "multi_category")
IMAGE = QueryInput("image", "event", "vector", 2)
JOB = QueryInput("job", "user", "text")
FACE = QueryInput("face", "user", "vector", 2)
INPUTS = (RATING, TAGS, IMAGE, JOB, FACE)
# A query that is sound, and values of it that are missing.
WHOLE = {
    "history": ["a", "b"],
    "rating": [1.0, 2.0],
    "tags": [["x", "y"], []],
    "image": [[1.0, 2.0], [3.0, 4.0]],
    "job": "cook",
    "face": [0.0, 1.0],
}
MISSING = {
    "rating": (None, [None, 2.0]),
    "tags": (None, [None, ["x", None]]),
    "image": (None, [None, [1.0, None]]),
    "job": (None, ""),
    "face": (None, [None, 1.0]),
}
WRONG = {
    "too few": ({"rating": [1.0]}, "'rating' has 1 values for a history of 2 events; expected one each, null where"),
    "too many": ({"tags": [["x"], [], []]}, "'tags' has 3 values for a history of 2 events"),
    "none": ({"image": []}, "'image' has 0 values for a history of 2 events"),
    "narrow": ({"image": [None, [1.0]]}, "'image' has a vector of 1 numbers at place 1; expected 2"),
    "wide": ({"face": [1.0, 2.0, 3.0]}, "'face' has a vector of 3 numbers; expected 2"),
    "no text": ({"job": b"\xff\xfe"}, r"'job' has b'\xff\xfe'; expected text in UTF-8"),
    "no tag": ({"tags": [["x"], [b"\xff"]]}, r"'tags' has b'\xff' at place 1; expected text in UTF-8"),
}


def in_bytes(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(in_bytes(kind.value_type))
    return pa.binary() if kind == pa.string() else kind


def as_text(values: pa.Array) -> pa.Array:
    """Bytes as text without a look at them, which a cast would take."""
    if pa.types.is_list(values.type):
        return pa.ListArray.from_arrays(values.offsets, as_text(values.values), mask=values.is_null())
    return values.view(pa.string()) if values.type == pa.binary() else values


def table(rows: list[dict]) -> pa.Table:
    columns = {"history": pa.array([row["history"] for row in rows], pa.list_(pa.string()))}
    for each in INPUTS:
        values = [row[each.name] for row in rows]
        columns[each.name] = as_text(pa.array(values, in_bytes(column_type(each))))
    return pa.table(columns)


def test_missing_values_are_no_faults():
    rows = [WHOLE, *(WHOLE | {name: value} for name, values in MISSING.items() for value in values)]
    assert sound(table(rows), INPUTS).all()
    assert faults(table(rows), INPUTS) == [None] * len(rows)


@pytest.mark.parametrize("kind", WRONG)
def test_a_fault_is_found_among_sound_queries_and_named(kind, tmp_path):
    change, reason = WRONG[kind]
    rows = [WHOLE] * 3 + [WHOLE | change] + [WHOLE]
    queries = table(rows)
    assert sound(queries, INPUTS).tolist() == sound_features(queries, INPUTS).tolist() == [True] * 3 + [False, True]
    pq.write_table(queries, tmp_path / "queries.parquet", row_group_size=2)
    (letter,) = bad_queries(tmp_path / "queries.parquet", INPUTS)
    assert (letter.kind, letter.row) == ("query", 3)
    assert letter.reason.startswith(reason)


def test_a_null_history_is_a_fault_of_the_query_and_none_of_its_features():
    queries = table([WHOLE | {"history": None, "rating": [], "tags": None, "image": None}])
    assert not sound(queries, INPUTS).any()
    assert sound_features(queries, INPUTS).all()


@given(data=st.data())
def test_a_look_at_whole_columns_finds_what_a_look_at_each_value_does(data):
    lengths = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=5))
    vector = st.none() | st.lists(st.just(1.0), min_size=1, max_size=3)
    rows = []
    for length in lengths:
        around = {"min_size": max(0, length - 1), "max_size": length + 1}
        rows.append(
            {
                "history": ["a"] * length,
                "rating": data.draw(st.none() | st.lists(st.none() | st.just(1.0), **around)),
                "tags": None,
                "image": data.draw(st.none() | st.lists(vector, **around)),
                "job": None,
                "face": data.draw(vector),
            }
        )

    def is_sound(row: dict) -> bool:
        aligned = all(row[name] is None or len(row[name]) == len(row["history"]) for name in ("rating", "image"))
        return aligned and all(value is None or len(value) == 2 for value in [*(row["image"] or ()), row["face"]])

    assert sound(table(rows), INPUTS).tolist() == [is_sound(row) for row in rows]


def write(path: pathlib.Path, **changes: pa.Array) -> pathlib.Path:
    """A file of one query, its columns exchanged; of None left out."""
    columns = {name: table([WHOLE])[name] for name in WHOLE} | changes
    pq.write_table(pa.table({name: values for name, values in columns.items() if values is not None}), path)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rating": None},
            r"bring 'rating' too, a number of the event: expected a column of list<.*float>, null where",
        ),
        ({"job": None}, r"bring 'job' too, a text of the user: expected a column of string"),
        ({"rating": pa.array([[["x"]]])}, r"column 'rating' is list<.*; expected list<item: float> \(number\)"),
        ({"job": pa.array([["x"]])}, r"column 'job' is list<.*string>; expected string \(text\)"),
        ({"job": pa.array([1.5])}, r"column 'job' is double; expected string"),
        ({"tags": pa.array([["x", "y"]])}, r"column 'tags' is list<.*string>; expected list<.*list<.*string>>"),
        ({"history": pa.array(["a"])}, r"column 'history' is string; expected list<string>; do this"),
    ],
)
def test_columns_that_will_not_do_are_named(changes, message, tmp_path):
    path = write(tmp_path / "queries.parquet", **changes)
    with pytest.raises(UserError, match=rf"queries file .*queries.parquet \(--queries\).*{message}"):
        open_queries(path, INPUTS, "do this")


@pytest.mark.parametrize(
    "changes",
    [
        {"rating": pa.array([[1, 2]]), "job": pa.array([7])},
        {
            "rating": pa.array([None]),
            "tags": pa.array([[None, []]]),
            "face": pa.array([[0.5, 1.0]], pa.list_(pa.float64(), 2)),
        },
        {"tags": pa.array([[["x"], None]], pa.large_list(pa.large_list(pa.large_string())))},
    ],
)
def test_columns_of_kindred_types_will_do(changes, tmp_path):
    with open_queries(write(tmp_path / "queries.parquet", **changes), INPUTS, "") as file:
        assert sound(file.read(), INPUTS).all()
    assert not list(bad_queries(tmp_path / "queries.parquet", INPUTS))
