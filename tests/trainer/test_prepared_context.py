"""Features of events and users in prepared data are those of the same log in memory: rows, encoders and windows."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.errors import UserError
from tests.support.models import small_config
from tests.support.own_data import write, write_schema
from tests.trainer.test_prepare import NAMED, columns_of, prepared, same, walks
from trainer.config import Config
from trainer.data import load, split
from trainer.data.__main__ import main
from trainer.data.features import take
from trainer.data.prepare.distinct import NO_ROWS, DistinctRows, distinct_rows, joined_rows
from trainer.data.prepared import read_prepared
from trainer.data.splits import Split
from trainer.prepared_data import PreparedData
from trainer.split_data import SplitData
from trainer.two_tower import TwoTower
from trainer.windows import rows_of

EVENT_FEATURES = [
    {"name": "device", "kind": "category", "min_count": 40},
    {"name": "tags", "kind": "multi_category", "separator": "|"},
    {"name": "price", "kind": "number"},
    {"name": "score", "kind": "number", "bins": 4},
    {"name": "weight", "kind": "number"},
]
USER_FEATURES = [
    {"name": "land", "kind": "category"},
    {"name": "face", "kind": "vector", "separator": ";"},
    {"name": "job", "kind": "text"},
]
HISTORY = 6


def schema_of(path: pathlib.Path, users: str = "customers", name: str = "own.yaml") -> pathlib.Path:
    """A log in three files and a table of users in two, whose features miss values, repeat, and come in any order."""
    events, rng = walks(), np.random.default_rng(5)
    for number in range(3):
        rows = events[number::3]
        columns = {name: list(map(str, values)) for name, values in columns_of(rows).items()}
        for feature, values in (
            ("device", ["phone", "phone", "tv", "watch", ""]),
            ("tags", ["a|b", "b", "", "b|a"]),
            ("price", ["1.5", "2", "", "7e3"]),
            ("score", ["1", "2", "3", "5", "8", "13", ""]),
            ("heavy", ["1", "2"]),
        ):
            columns[feature] = rng.choice(values, len(rows)).tolist()
        write(path / "log" / f"{number}.csv", columns)
    ids = [f"u{user}" for user in range(29, 1, -1)]
    texts = {
        "land": [("DE", "FR", "")[place % 3] for place in range(len(ids))],
        "face": [("1;2", "", "0.5;3")[place % 3] for place in range(len(ids))],
        "job": [("cook", "head cook")[place % 2] for place in range(len(ids))],
    }
    write(path / "customers" / "a.csv", {"id": ids[:15]} | {name: of[:15] for name, of in texts.items()})
    # The first row of an id counts, and "nobody" has no event.
    more = {"land": ["IT", "IT"], "face": ["1;1", "1;1"], "job": ["spy", "spy"]}
    write(
        path / "customers" / "b.csv",
        {"id": [*ids[15:], "u29", "nobody"]} | {name: of[15:] + more[name] for name, of in texts.items()},
    )
    interactions = {"files": "log", **NAMED, "weight": "heavy", "features": EVENT_FEATURES}
    table = {"files": users, "id": "id", "features": USER_FEATURES}
    return write_schema(path / name, {"interactions": interactions, "users": table})


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[PreparedData, Split, pathlib.Path]:
    path = tmp_path_factory.mktemp("context")
    schema = schema_of(path)
    return prepared(schema, path / "out", num_shards=3), split(load(schema)), schema


def brought(parts: Split) -> list:
    """What the queries of both parts bring, by user."""
    columns = parts.columns()
    return [
        (part, user, rows.tolist(), take(columns.events, events), take(columns.users, [entry]))
        for part in ("validation", "test")
        for queries in [parts.queries(part)]
        for user, rows, events, entry in zip(
            *(queries.users, queries.histories.rows, queries.histories.events, queries.histories.users), strict=True
        )
    ]


def context_config(parts: Split) -> Config:
    """A small configuration with the features that the data declares."""
    config = small_config(data={"max_history": HISTORY})
    return dataclasses.replace(config, features=config.features.filled(parts.declared))


def test_queries_bring_what_they_bring_from_memory(both):
    data, parts, _ = both
    found = data.sample(10**6)
    same(found, parts)
    assert data.declared == parts.declared
    assert len(brought(parts)) == 60
    assert brought(found) == brought(parts)


def test_what_was_prepared_is_said(both):
    data, _, _ = both
    events, users = data.prepared.summary().splitlines()[2:]
    assert (
        events
        == f"event features: device, tags, price, score, weight; {len(data.columns().event_counts)} distinct rows"
    )
    assert users == "user features: land, face, job; 7 distinct rows"


def test_counts_are_of_training_events_and_of_users(both):
    data, parts, _ = both
    columns = data.columns()
    expected = collections.Counter(_texts(take(parts.event_features, np.concatenate(parts.train_events))))
    found = zip(_texts(columns.events), columns.event_counts.tolist(), strict=True)
    assert {row: count for row, count in found if count} == expected
    assert columns.user_counts.sum() == len(parts.user_ids)
    assert len(columns.user_counts) == 7  # three kinds of land and face, two jobs, and users without a row


def _texts(columns: Mapping[str, pa.Array]) -> list[str]:
    return list(map(repr, zip(*(columns[name].to_pylist() for name in sorted(columns)), strict=True)))


def test_a_model_says_of_streamed_windows_what_it_says_of_those_in_memory(both):
    """The same vocabularies, means and quantiles, and each event with its own features and its user's."""
    data, parts, _ = both
    config = context_config(parts)

    def said(source) -> dict:
        model = TwoTower(config, source.counts(), columns=source.columns())
        windows = np.concatenate(list(source.windows(config)))
        vectors = model.context_vectors(windows).numpy()
        return {
            tuple(rows.tolist()): vectors[place][rows >= 0].round(5).tolist()
            for place, rows in enumerate(rows_of(windows))
        }

    streamed, in_memory = said(data), said(SplitData(parts))
    assert len(streamed) > 30
    assert streamed.keys() == in_memory.keys()
    for rows, vectors in streamed.items():
        np.testing.assert_allclose(vectors, in_memory[rows], atol=1e-4)


def test_batches_have_the_windows_of_memory_once(both):
    data, parts, _ = both
    config = context_config(parts)
    batches = list(data.batches(config).epoch(1))
    assert {batch.shape[2] for batch in batches} == {3}
    pieces = np.concatenate(list(data.windows(config)))

    def counted(windows) -> list:
        return sorted([event for event in window.tolist() if event[0] >= 0] for window in windows)

    assert counted(window for batch in batches for window in batch) == counted(pieces)
    assert len(batches) == data.batches(config).steps


def test_features_can_be_left_out(both, tmp_path):
    _, parts, schema = both
    main(["prepare", "--data", str(schema), "--output", str(tmp_path / "out"), "--no_context", "--num_shards", "1"])
    data = PreparedData(read_prepared(tmp_path / "out"))
    same(data.sample(100), parts)
    assert not data.declared.context
    assert (data.columns().events, data.columns().users) == ({}, {})


def test_features_that_differ_too_much_are_refused(both, tmp_path):
    message = r"features of events \(.*price.*\) have more than 9 distinct rows.*'score' differs most.*--max_distinct"
    with pytest.raises(UserError, match=message):
        prepared(both[2], tmp_path / "out", max_distinct=9)
    assert not (tmp_path / "out").exists()


def test_vectors_of_two_lengths_are_refused_before_training(tmp_path):
    schema = schema_of(tmp_path)
    write(tmp_path / "customers" / "c.csv", {"id": ["u0"], "land": [""], "face": ["1;2;3"], "job": [""]})
    with pytest.raises(UserError, match=r"users column 'face', row \d+: a vector of \d numbers, expected \d"):
        prepared(schema, tmp_path / "out")


def test_users_without_a_row_are_told_as_by_load(tmp_path, caplog):
    warnings = []
    write(tmp_path / "few" / "a.csv", {"id": ["u3", "other"], "land": ["DE", "FR"], "face": ["", ""], "job": ["", ""]})
    schema = schema_of(tmp_path, users="few")
    for attempt in (load, lambda schema: prepared(schema, tmp_path / "out", num_shards=1)):
        caplog.clear()
        attempt(schema)
        warnings.append([record.getMessage() for record in caplog.records if record.name.startswith("trainer.")])
    # Which users stand for all depends on the order in which they are met.
    told = [[re.sub(r"'u\d+'", "USER", text) for text in texts] for texts in warnings]
    assert told[0] == told[1]
    assert "users.id: no row for a user of the log (29): USER; USER; USER; and more" in told[0][0]
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.csv").write_text("id,land,face,job\n")
    for attempt in (load, lambda schema: prepared(schema, tmp_path / "none-out")):
        with pytest.raises(UserError, match=r"users: no row in .*none; name files that have some"):
            attempt(schema_of(tmp_path, users="none", name="none.yaml"))


values = st.sampled_from([None, 0, 1, 2])
tables = st.lists(st.lists(st.tuples(values, values), max_size=6), min_size=1, max_size=5)


@settings(deadline=None)
@given(tables, st.integers(1, 4))
def test_joined_rows_are_the_distinct_ones_by_first_occurrence(found, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.data.prepare.distinct._ROWS_AT_ONCE", at_once)
        kept = [list(dict.fromkeys(rows)) for rows in found]
        parts = [DistinctRows(_columns(rows), len(rows)) if rows else NO_ROWS for rows in kept]
        whole, numbers = joined_rows(parts, "events", 100)
    everything = [row for rows in kept for row in rows]
    distinct = list(dict.fromkeys(everything))
    assert _rows(whole) == distinct
    assert [[distinct[number] for number in each] for each in numbers] == kept
    if everything:
        rows, codes = distinct_rows(_columns(everything), len(everything))
        assert [_rows(rows)[code] for code in codes] == everything


def _columns(rows: list) -> dict[str, pa.Array]:
    """A column of numbers, and one of lists."""
    first, second = zip(*rows, strict=True)
    lists = [None if each is None else [str(each)] * each for each in second]
    return {"one": pa.array(first, pa.int8()), "two": pa.array(lists, pa.list_(pa.string()))}


def _rows(table: DistinctRows) -> list:
    if not table.count:
        return []
    second = [None if each is None else len(each) for each in table.columns["two"].to_pylist()]
    return list(zip(table.columns["one"].to_pylist(), second, strict=True))


def test_the_manifest_says_what_is_declared(both):
    data, parts, _ = both
    manifest = json.loads((data.prepared.directory / "manifest.json").read_text())
    names = [feature["name"] for feature in manifest["declared"]["events"]]
    assert names == [feature.name for feature in parts.declared.events]
