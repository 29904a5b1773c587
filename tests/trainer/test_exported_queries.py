"""The queries of an export bring what the data knows of their events and users, at the right places."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from protos.errors import UserError
from protos.query_inputs import QueryInput
from tests.support.context import CATALOGUE, COLUMNS, DECLARED, random_queries, values_of
from tests.support.models import small_config
from trainer import exported_queries
from trainer.data import load, split
from trainer.exported_queries import SampleQueries, feature_columns, write_queries
from trainer.split_data import indexed_queries

DATA = "synthetic:users=40,items=50,interactions=900,seed=1"
TYPES = {
    "category": pa.string(),
    "text": pa.string(),
    "multi_category": pa.list_(pa.string()),
    "number": pa.float32(),
    "vector": pa.list_(pa.float32()),
}


INPUTS = tuple(
    QueryInput(feature["name"], place, feature["kind"], 3 if feature["kind"] == "vector" else None)
    for place in ("event", "user")
    for feature in DECLARED[f"{place}s"]
)
IDS = CATALOGUE["item_id"].to_pylist()


def test_every_value_stands_at_the_place_of_its_event(tmp_path, monkeypatch):
    monkeypatch.setattr(exported_queries, "_QUERIES_A_GROUP", 7)
    queries = random_queries(20, seed=3)
    path = tmp_path / "queries.parquet"
    write_queries(path, SampleQueries(queries, None, COLUMNS), IDS, INPUTS)
    table = pq.read_table(path)
    assert table["history"].to_pylist() == [[f"item {row}" for row in rows] for rows in queries.rows]
    assert table["relevant"].to_pylist() == [[]] * 20
    for feature in DECLARED["events"]:
        name = feature["name"]
        assert table.schema.field(name).type == pa.list_(TYPES[feature["kind"]])
        assert table[name].to_pylist() == [[values_of("events", name, key) for key in keys] for keys in queries.events]
    for feature in DECLARED["users"]:
        name = feature["name"]
        assert table.schema.field(name).type == TYPES[feature["kind"]]
        assert table[name].to_pylist() == [values_of("users", name, key) for key in queries.users]
    assert pq.ParquetFile(path).num_row_groups == 3


def test_of_histories_alone_nothing_else_is_known(tmp_path):
    write_queries(tmp_path / "queries.parquet", SampleQueries([np.arange(3)]), IDS, INPUTS)
    table = pq.read_table(tmp_path / "queries.parquet")
    assert table["rating"].to_pylist() == [[None] * 3]
    assert table["job"].to_pylist() == [None]


def test_columns_of_the_data_follow_every_history_and_prefix(tmp_path):
    data = load(DATA)
    parts = split(data)
    inputs = (
        *(QueryInput(name, "event", kind) for name, kind in (("hour", "number"), ("weekday", "category"))),
        *(QueryInput(name, "user", kind) for name, kind in (("likes", "multi_category"), ("joined", "number"))),
    )
    queries = indexed_queries(parts, small_config())
    write_queries(tmp_path / "queries.parquet", queries, parts.catalogue.item_id, inputs)
    event_of = {
        (data.user_ids[user], data.catalogue.item_id[item]): place
        for place, (user, item) in enumerate(zip(data.users, data.items, strict=True))
    }
    hours, weekdays = (data.event_features[name].to_pylist() for name in ("hour", "weekday"))
    rows = pq.read_table(tmp_path / "queries.parquet").to_pylist()
    assert len(rows) > 200
    for row, user in zip(rows, queries.histories.users, strict=True):
        events = [event_of[data.user_ids[user], item] for item in row["history"]]
        assert row["hour"] == [hours[event] for event in events]
        assert row["weekday"] == [str(weekdays[event]) for event in events]
        assert row["likes"] == data.user_features["likes"][user].as_py()
        assert row["joined"] == data.user_features["joined"][user].as_py()


def test_a_column_that_the_data_lacks_is_named():
    inputs = [QueryInput("mood", "event", "category")]
    message = r"features.events: the data has no events column 'mood'; it has 'rating', 'device'"
    with pytest.raises(UserError, match=message):
        feature_columns(inputs, random_queries(5, seed=3), COLUMNS)


def test_as_many_targets_as_queries(tmp_path):
    with pytest.raises(ValueError, match="there are 2 queries and targets of 1; expected one each"):
        write_queries(tmp_path / "q", SampleQueries([np.arange(2)] * 2, [np.arange(1)]), ["a", "b"], ())
