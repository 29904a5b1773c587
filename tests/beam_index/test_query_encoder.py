"""Queries are cut into batches that hold each once, and padded to one shape."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from beam_index.query_encoder import BATCH_QUERIES, batches, pad
from protos.query_inputs import QueryInput

INPUTS = (QueryInput("rating", "event", "number"), QueryInput("likes", "user", "multi_category"))


def test_batches_hold_every_query_once():
    count = 2 * BATCH_QUERIES + 5
    columns = {
        "history": [[f"item-{row}"] for row in range(count)],
        "rating": [[float(row)] for row in range(count)],
        "likes": [[str(row)] for row in range(count)],
    }
    cut = list(batches(pa.table(columns), INPUTS))
    for name, values in columns.items():
        assert [value for batch in cut for value in batch[name]] == values
    assert max(len(batch["history"]) for batch in cut) <= BATCH_QUERIES


def test_bad_queries_are_left_out_with_all_that_they_bring():
    history = pa.array([["a"], None, ["b"], ["c"]], pa.list_(pa.string()))
    table = pa.table({"history": history, "rating": [[1], [2], [3, 4], [None]], "likes": [["x"], ["y"], ["z"], None]})
    (batch,) = batches(table, INPUTS)
    assert batch == {"history": [["a"], ["c"]], "rating": [[1.0], [None]], "likes": [["x"], None]}
    assert not list(batches(table.slice(1, 1), INPUTS))


def test_whole_numbers_are_categories_by_name():
    table = pa.table({"history": [["a", "b"]], "hour": pa.array([[3, None]], pa.list_(pa.int8()))})
    (batch,) = batches(table, [QueryInput("hour", "event", "category")])
    assert batch["hour"] == [["3", None]]


def test_padding_has_one_shape_for_any_number_of_queries():
    queries = {"history": [["a", "b", "c"], [], None, ["d", None]]}
    (padded,) = pad(queries, ())
    assert padded.shape == (BATCH_QUERIES, 3)
    assert padded[:4].tolist() == [["a", "b", "c"], ["", "", ""], ["", "", ""], ["d", "", ""]]
    assert set(padded[4:].ravel()) == {""}
    assert pad({"history": [[]]}, ())[0].shape == (BATCH_QUERIES, 1)
    features = {"rating": [[1.0, None, 2.0], [], None, None], "likes": [["x"], None, ["x", "y"], []]}
    history, rating, likes = pad({**queries, **features}, INPUTS)
    np.testing.assert_array_equal(history, padded)
    assert (rating.shape, likes.shape) == ((BATCH_QUERIES, 3), (BATCH_QUERIES, 2))
    assert np.argwhere(~np.isnan(rating)).tolist() == [[0, 0], [0, 2]]
    assert likes[:4].tolist() == [["x", ""], ["", ""], ["x", "y"], ["", ""]]
