"""Recorded queries: what may be asked again, from either form of file."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import recorded
from protos.errors import UserError
from serving.client import Query
from serving.recorded import read_recorded

ROWS = {
    "history": [["a", "b"], None, ["c"]],
    "relevant": [["x"], ["y"], ["z"]],
    "device": ["tv", None, "phone"],
    "ratings": [[1.0, float("nan")], None, [3.0]],
}


@pytest.fixture
def parquet(tmp_path):
    pq.write_table(pa.table(ROWS), tmp_path / "queries.parquet")
    return tmp_path / "queries.parquet"


def test_targets_are_not_asked_and_features_are(parquet):
    first, second, third = read_recorded(parquet, 10)
    assert (first.history, first.features["device"], first.features["ratings"][0]) == (["a", "b"], "tv", 1.0)
    assert second == Query([], features={"device": None, "ratings": None})
    assert third == Query(["c"], features={"device": "phone", "ratings": [3.0]})


def test_as_json_they_are_the_same(parquet, tmp_path):
    path = tmp_path / "queries.jsonl"
    recorded.main(["--queries", str(parquet), "--output", str(path)])
    first, *others = read_recorded(path, 10)
    assert first == Query(["a", "b"], features={"device": "tv", "ratings": [1.0, None]})
    assert others == read_recorded(parquet, 10)[1:]


def test_of_many_some_are_taken_from_all_over_the_file(tmp_path):
    path = tmp_path / "queries.jsonl"
    path.write_text("".join(json.dumps({"history": [str(n)]}) + "\n" for n in range(100)))
    assert [query.history for query in read_recorded(path, 4)] == [["0"], ["25"], ["50"], ["75"]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.jsonl", "", "has no queries; expected at least one"),
        ("q.jsonl", "{", "q.jsonl, line 1: no JSON"),
        ("q.parquet", "no parquet", "expected the queries.parquet of an exported model"),
    ],
)
def test_what_holds_no_queries_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read_recorded(tmp_path / name, 10)
    with pytest.raises(UserError, match=r"nothing\.parquet"):
        read_recorded(tmp_path / "nothing.parquet", 10)


def test_a_table_of_something_else(tmp_path):
    pq.write_table(pa.table({"item_id": ["a"]}), tmp_path / "items.parquet")
    with pytest.raises(UserError, match="has no column history, only item_id"):
        read_recorded(tmp_path / "items.parquet", 10)
