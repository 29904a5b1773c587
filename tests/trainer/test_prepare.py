"""Prepared data holds what the same log holds in memory, whatever cut it into files, shards and workers."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protos.artifact import MANIFEST, read_manifest
from protos.errors import UserError
from protos.lock import lock_writer
from tests.support.own_data import write, write_schema
from trainer.data import load, split
from trainer.data.__main__ import main
from trainer.data.prepare.options import PrepareOptions
from trainer.data.prepare.prepare import prepare
from trainer.data.prepared import FORMAT, read_prepared
from trainer.prepared_data import PreparedData

ids = st.text("ab07é", min_size=1, max_size=3)
event_lists = st.lists(st.tuples(ids, ids, st.integers(10**9, 10**9 + 9)), min_size=1, max_size=40)
# Five events of a user at one time, in an order that is none of their ids'; each of two items twice.
TIES = [("u", item, 10**9) for item in "dacbdea"] + [("v", "d", 10**9 + 1), ("v", "a", 10**9)]
COLUMNS = ("user", "item", "time")
NAMED = {name: name for name in COLUMNS}


def columns_of(events) -> dict:
    return dict(zip(COLUMNS, map(list, zip(*events, strict=True)), strict=True))


def schema_of(path: pathlib.Path, events, files: int = 1, time_column: str | None = "time", **sections):
    """Writes a log as several files and its schema, and returns the schema's path."""
    size = -(-len(events) // files)
    for number, first in enumerate(range(0, len(events), size)):
        write(path / "log" / f"part-{number}.parquet", columns_of(events[first : first + size]))
    named = {"user": "user", "item": "item"} | ({"time": time_column} if time_column else {})
    return write_schema(path / "own.yaml", {"interactions": {"files": "log", **named}, **sections})


def prepared(schema: pathlib.Path, output: pathlib.Path, *beam_flags: str, **options) -> PreparedData:
    return PreparedData(prepare(PrepareOptions(str(schema), output, **options), beam_flags))


def walks(users: int = 30, events: int = 12, items: int = 25, seed: int = 1):
    rng = np.random.default_rng(seed)
    return [(f"u{user}", f"i{rng.integers(items)}", 10**9 + n) for n in range(events) for user in range(users)]


def same(left, right) -> None:
    """Two splits in memory hold the same."""
    assert left.user_ids == right.user_ids
    assert left.catalogue.columns() == right.catalogue.columns()
    for part in ("train", "validation", "test"):
        assert [rows.tolist() for rows in getattr(left, part)] == [rows.tolist() for rows in getattr(right, part)], part


@settings(deadline=None, max_examples=10)
@given(event_lists, st.integers(1, 3), st.sampled_from(["chronological", "leave_last_out"]), st.booleans())
@example(TIES, 2, "leave_last_out", True)
@example(TIES, 1, "chronological", False)
def test_both_ways_give_the_same_split(events, files, method, timed):
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory)
        schema = schema_of(path, events, files, "time" if timed else None)
        data = prepared(schema, path / "out", split=method, num_shards=2)
        expected = split(load(schema), method)
        same(data.sample(10**6), expected)
        counts = np.bincount(np.concatenate(expected.train), minlength=len(expected.catalogue))
        assert data.counts().tolist() == counts.tolist()
        for part in ("train", "validation", "test"):
            assert data.prepared.total(part) == sum(map(len, getattr(expected, part)))
        assert data.prepared.total("unknown_tests") == sum(int((rows < 0).sum()) for rows in expected.test)


def shards(output: pathlib.Path) -> dict[str, str]:
    return {name: file["sha256"] for name, file in read_manifest(output, FORMAT)["files"].items()}


def test_shards_depend_neither_on_workers_nor_on_how_the_log_is_cut_into_pieces(tmp_path, monkeypatch):
    schema = schema_of(tmp_path, walks(), files=3)
    prepared(schema, tmp_path / "one", num_shards=3)
    prepared(
        *(schema, tmp_path / "two", "--direct_running_mode=multi_threading", "--direct_num_workers=2"), num_shards=3
    )
    monkeypatch.setattr("trainer.data.prepare.scatter._PIECE_ROWS", 1)
    monkeypatch.setattr("trainer.data.prepare.scatter._ROWS_A_PARTITION", 1)
    monkeypatch.setattr("trainer.data.schema.readers.BATCH_ROWS", 7)
    prepared(schema, tmp_path / "pieces", num_shards=3)
    assert len(shards(tmp_path / "one")) == 5
    assert shards(tmp_path / "one") == shards(tmp_path / "two") == shards(tmp_path / "pieces")


def test_files_of_any_file_system_and_name_are_prepared(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    names = ["part 1.csv", "part[1].csv", "part1.csv", "part?.csv"]
    for place, name in enumerate(names):
        path = write(tmp_path / "log" / name, columns_of(walks(users=5, seed=place)))
        fsspec.filesystem("memory").pipe_file(f"/prepare/log/{name}", path.read_bytes())
    expected = split(load(write_schema(tmp_path / "own.yaml", {"interactions": {"files": "log", **NAMED}})))
    for number, files in enumerate(("memory://prepare/log/", "memory://prepare/log/part*")):
        schema = write_schema(tmp_path / "other.yaml", {"interactions": {"files": files, **NAMED}})
        same(prepared(schema, tmp_path / str(number), num_shards=2).sample(100), expected)


def test_known_formats_are_prepared_too(tmp_path):
    source = "synthetic:users=40,items=50,interactions=900,seed=1"
    data = prepared(source, tmp_path / "out", num_shards=2)
    expected = split(load(source))
    same(data.sample(10**6), expected)
    assert data.declared == expected.declared


def test_items_have_what_their_table_says(tmp_path):
    write(tmp_path / "items.csv", {"id": ["i3", "i1", "zz"], "name": ["Three", "One", "?"], "price": ["3", "", "1"]})
    items = {"files": "items.csv", "id": "id", "title": "name", "features": [{"name": "price", "kind": "number"}]}
    schema = schema_of(tmp_path, walks(users=5, items=4), items=items)
    data, expected = prepared(schema, tmp_path / "out"), split(load(schema))
    same(data.sample(100), expected)
    assert data.catalogue.title[-1] == "Three"
    assert data.catalogue.features["price"].to_pylist()[-1] == 3
    assert data.declared == expected.declared
    assert data.declared.items


def test_only_the_most_frequent_items_have_rows_and_the_tail_shares_some(tmp_path):
    counts = {"a": 5, "b": 4, "c": 4, "d": 1, "e": 2}
    events = [(f"u{n}", item, 10**9) for item, count in counts.items() for n in range(count)]
    schema = schema_of(tmp_path, events)
    none = prepared(schema, tmp_path / "none", max_items=2)
    assert none.catalogue.item_id == ("a", "b")
    train = sum(1 for _, item, _ in events if item in "ab")
    assert none.prepared.total("train") <= train
    tail = prepared(schema, tmp_path / "tail", max_items=2, tail_buckets=3)
    assert tail.catalogue.item_id == ("a", "b", "tail-0", "tail-1", "tail-2")
    assert tail.catalogue.features["removed"].to_pylist() == [False, False, True, True, True]
    assert tail.counts().sum() == tail.prepared.total("train") > none.prepared.total("train")
    parts = tail.sample(100)
    assert max(rows.max(initial=-1) for rows in parts.validation + parts.test) < 2
    assert max(rows.max(initial=-1) for rows in parts.train) >= 2


def test_a_short_catalogue_is_of_the_most_frequent_items_among_many(tmp_path):
    hot = [(f"h{n}", "hot", 10**9) for n in range(4)]
    rare = [(f"u{n}", f"i{n}", 10**9) for n in range(400)]
    data = prepared(schema_of(tmp_path, hot + rare), tmp_path / "out", max_items=1)
    assert data.catalogue.item_id == ("hot",)


def test_names_of_buckets_are_no_items(tmp_path):
    events = [("u", "tail-0", 10**9), ("v", "tail-0", 10**9), ("v", "x", 10**9)]
    data = prepared(schema_of(tmp_path, events), tmp_path / "out", max_items=1, tail_buckets=1)
    assert data.catalogue.item_id == ("tail-0", "tail_-0")


@pytest.mark.parametrize("row", [("", "i1", 10**9), ("u1", "", 10**9), ("u1", "i1", "soon")])
def test_bad_rows_are_reported_as_by_load(tmp_path, row, caplog):
    rows = [*[tuple(map(str, event)) for event in walks(users=4)], tuple(map(str, row))]
    write(tmp_path / "log" / "a.csv", columns_of(rows[:20]))
    write(tmp_path / "log" / "b.csv", columns_of(rows[20:]))
    strict = write_schema(tmp_path / "own.yaml", {"interactions": {"files": "log", **NAMED}})
    texts = []
    for attempt in (load, lambda schema: prepared(schema, tmp_path / "out")):
        with pytest.raises(UserError) as caught:
            attempt(strict)
        texts.append(str(caught.value))
    assert texts[0] == texts[1]
    assert "row 29" in texts[0]
    assert not (tmp_path / "out").exists()
    loose = write_schema(tmp_path / "own.yaml", {"interactions": {"files": "log", **NAMED}, "max_bad_share": 0.1})
    warnings = []
    for attempt in (load, lambda schema: prepared(schema, tmp_path / "out")):
        caplog.clear()
        attempt(loose)
        warnings.append([record.getMessage() for record in caplog.records if record.name.startswith("trainer.")])
    assert warnings[0] == warnings[1] != []


def test_a_column_that_is_missing_is_named(tmp_path):
    schema = schema_of(tmp_path, walks(users=3), time_column="when")
    with pytest.raises(UserError, match=r"^interactions\.when: there is no such column.*part-0\.parquet"):
        prepared(schema, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max_items", "0"], "--max_items is 0; expected 1 to"),
        (["--num_shards", "100000"], "--num_shards is 100,000; expected 1 to 99,999"),
        (["--tail_bucket", "3"], "unknown option 'tail_bucket'.*did you mean --tail_buckets"),
        (["--data", "nowhere"], "data .*nowhere does not exist"),
    ],
)
def test_options_are_checked(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        main(["prepare", "--data", "synthetic", "--output", str(tmp_path / "out"), *flags])
    assert not (tmp_path / "out").exists()


def test_what_is_no_prepared_data_is_not_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(UserError, match=r"--output .*out exists and holds no prepared data"):
        main(["prepare", "--data", "synthetic", "--output", str(tmp_path / "out")])
    assert (tmp_path / "out" / "mine.txt").exists()


def test_what_a_run_reads_is_not_replaced_under_it(tmp_path):
    schema = schema_of(tmp_path, walks())
    data = prepared(schema, tmp_path / "out", num_shards=1)
    before = shards(tmp_path / "out")
    with pytest.raises(UserError, match=r"--output .*out is read by a run"):
        prepared(schema, tmp_path / "out", num_shards=2)
    assert shards(tmp_path / "out") == before
    found = read_prepared(tmp_path / "out")
    del data
    with lock_writer(tmp_path / "out" / MANIFEST, ""), pytest.raises(UserError, match="out is being prepared anew"):
        PreparedData(found)
    assert len(prepared(schema, tmp_path / "out", num_shards=2).prepared.shards) == 2


def test_shards_that_are_cut_short_or_gone_are_found(tmp_path):
    data = prepared(schema_of(tmp_path, walks()), tmp_path / "out", num_shards=2)
    path = pathlib.Path(data.prepared.paths[1])
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"users-00001-of-00002\.tfrecord has \d+ bytes, its manifest says"):
        read_prepared(tmp_path / "out")
    path.unlink()
    with pytest.raises(UserError, match=r"users-00001-of-00002\.tfrecord is missing"):
        read_prepared(tmp_path / "out")


def test_prepared_data_is_for_training_only(tmp_path):
    prepared(schema_of(tmp_path, walks()), tmp_path / "out", num_shards=1)
    with pytest.raises(UserError, match=r"out is prepared for trainer\.task, which streams it"):
        load(tmp_path / "out")


def test_a_killed_preparation_leaves_nothing_that_passes_for_whole(tmp_path):
    """Killed while it arranges; the next one removes what it left."""
    rng = np.random.default_rng(0)
    count = 300_000
    log = {"user": rng.integers(0, 30_000, count), "item": rng.integers(0, 500, count), "time": np.arange(count)}
    (tmp_path / "log").mkdir()
    write(tmp_path / "log" / "a.parquet", {name: values.tolist() for name, values in log.items()})
    schema = write_schema(tmp_path / "own.yaml", {"interactions": {"files": "log", **{name: name for name in COLUMNS}}})
    command = [sys.executable, "-m", "trainer.data", "prepare", "--data", str(schema), "--output", "out"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen([*command], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".out.*/.scratch/Arrange-1.done")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "out").exists()
    left = list(tmp_path.glob(".out.*"))
    assert left
    assert not any((path / MANIFEST).exists() for path in left)
    with pytest.raises(UserError, match="it is not a complete"):
        read_prepared(left[0])
    prepared(schema_of(tmp_path, walks()), tmp_path / "out", num_shards=1)
    assert not list(tmp_path.glob(".out.*"))


def test_the_log_may_be_read_by_arrow_types_of_any_width(tmp_path):
    """Large strings and dictionaries, as other writers make them."""
    events = walks(users=6)
    schema = schema_of(tmp_path, events)
    expected = split(load(schema))
    users, items, times = zip(*events, strict=True)
    table = pa.table(
        {
            "user": pa.array(users, pa.large_string()),
            "item": pa.array(items).dictionary_encode(),
            "time": pa.array(times, pa.int32()),
        }
    )
    pq.write_table(table, tmp_path / "log" / "part-0.parquet")
    same(prepared(schema, tmp_path / "out", num_shards=2).sample(100), expected)
