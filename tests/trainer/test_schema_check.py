"""The check finds each kind of problem, at its file, row and column, and says what was understood."""

from __future__ import annotations

import json
import mmap
import pathlib
import time

import numpy as np
import pyarrow as pa
import pytest

from protos.errors import UserError
from tests.support.own_data import write, write_schema
from trainer.data import __main__ as command
from trainer.data.__main__ import main
from trainer.data.schema.columns import joined

USERS, ITEMS = [*"uuvvww"], [*"abcabc"]
LOG = {"user": USERS, "item": ITEMS, "time": [10**9 + n for n in range(6)]}
TABLE = {"id": [*"abc"], "tags": ["p|q", "q", "p"], "look": ["1 2", "3 4", "5 6"]}
FEATURES = [
    {"name": "tags", "kind": "multi_category", "separator": "|"},
    {"name": "look", "kind": "vector", "separator": " "},
]


def run(path: pathlib.Path, log=None, table=None, share: float = 0.001, sample: int = 0, **more) -> tuple[int, dict]:
    """The exit code of a check of a log in two shards, with a table of items; and what it wrote."""
    log = {**LOG, **(log or {})}
    for number, rows in enumerate((slice(0, 3), slice(3, None))):
        write(path / "log" / f"part-{number}.csv", {name: values[rows] for name, values in log.items()})
    write(path / "items.csv", {**TABLE, **(table or {})})
    schema = {
        "max_bad_share": share,
        "interactions": {"files": "log", "user": "user", "item": "item", "time": "time", **more},
        "items": {"files": "items.csv", "id": "id", "features": FEATURES},
    }
    write_schema(path / "own.yaml", schema)
    code = main(
        ["check", "--schema", str(path / "own.yaml"), "--json", str(path / "found.json"), "--sample", str(sample)]
    )
    return code, json.loads((path / "found.json").read_text())


def changed(values: list, place: int, value) -> list:
    return [*values[:place], value, *values[place + 1 :]]


def places(problem: dict) -> list[tuple[str, int | None]]:
    return [(pathlib.Path(example["file"]).name, example["row"]) for example in problem["examples"]]


def test_sound_data_is_understood_and_nothing_is_found(tmp_path, capsys):
    code, found = run(tmp_path)
    assert (code, found["errors"], found["problems"]) == (0, 0, [])
    log = found["summary"]["interactions"]
    assert (log["files"], log["rows"], log["events"], log["users"], log["items"]) == (2, 6, 6, 3, 3)
    assert log["times"] == ["2001-09-09T01:46:40", "2001-09-09T01:46:45"]
    assert log["events_a_user"] == {"median": 2.0, "p90": 2.0, "most": 2}
    tags = found["summary"]["items"]["features"]["tags"]
    assert (tags["coverage"], tags["distinct"], tags["examples"][0]) == (1.0, 2, ["p", "q"])
    said = capsys.readouterr().out
    assert "6 events of 3 users and 3 items" in said
    assert "0 errors, 0 warnings" in said


CASES = {
    "missing_value": ({"log": {"item": changed(ITEMS, 4, None)}}, "item", [("part-1.csv", 2)], "error", "Every row"),
    "wrong_value": (
        {"log": {"time": changed(LOG["time"], 2, "noon")}},
        "time",
        [("part-0.csv", 3)],
        "error",
        "ISO 8601",
    ),
    "future_time": (
        {"log": {"time": changed(LOG["time"], 3, int(time.time()) + 10**6)}},
        *("time", [("part-1.csv", 1)], "error", "Set `unit`"),
    ),
    "early_time": ({"log": {"time": changed(LOG["time"], 0, 5)}}, "time", [("part-0.csv", 1)], "error", "Set `unit`"),
    "duplicate_row": (
        {"log": {name: [*values, values[1]] for name, values in LOG.items()}},
        *("", [("part-1.csv", 4)], "warning", "is a file read twice?"),
    ),
    "single_event": (
        {"log": {"user": changed(USERS, 5, "x")}},
        "user",
        [("part-1.csv", 2), ("part-1.csv", 3)],
        "warning",
        "",
    ),
    "wrong_feature": (
        {"table": {"look": ["1 2", "3 x", "5 6"]}},
        "look",
        [("items.csv", 2)],
        "error",
        "a list of numbers",
    ),
    "vector_length": ({"table": {"look": ["1 2", "3 4", "5 6 7"]}}, "look", [("items.csv", 3)], "error", "one length"),
    "unused_separator": ({"table": {"tags": ["p,q", "q", "p"]}}, "tags", [("", None)] * 3, "warning", "kind: category"),
    "empty_feature": ({"table": {"tags": [None] * 3}}, "tags", [], "warning", "leave the feature out"),
    "repeated_id": (
        {"table": {name: [*values, values[0]] for name, values in TABLE.items()}},
        *("id", [("items.csv", 4)], "warning", "first row"),
    ),
    "no_row": ({"log": {"item": changed(ITEMS, 0, "z")}}, "id", [("", None)], "warning", "25.0% of those read"),
    "no_event": ({"table": {"id": [*"abz"]}}, "id", [("items.csv", 3)], "warning", "trainer.extend"),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_of_problem_is_found_at_its_place(tmp_path, kind, capsys):
    changes, column, expected, level, cure = CASES[kind]
    code, found = run(tmp_path, **changes)
    problem = next(problem for problem in found["problems"] if problem["kind"] == kind)
    assert (problem["column"], places(problem), problem["level"]) == (column, expected, level)
    assert cure in problem["cure"]
    assert code == (level == "error") == (found["errors"] > 0)
    assert problem["message"] in capsys.readouterr().out


def test_a_bad_row_is_a_warning_where_that_many_may_be(tmp_path):
    code, found = run(tmp_path, {"item": changed(ITEMS, 4, None)}, share=0.2)
    assert (code, found["errors"]) == (0, 0)
    assert {problem["level"] for problem in found["problems"]} == {"warning"}


@pytest.mark.parametrize(
    ("unit", "rate", "said"), [("s", 1000, "milliseconds: set `unit: ms`"), ("ms", 1, "like seconds")]
)
def test_the_unit_of_times_is_told_by_the_years_that_they_would_be_in(tmp_path, unit, rate, said):
    times = [rate * 1_600_000_000 + n for n in range(6)]
    code, found = run(tmp_path, {"time": times}, time={"column": "time", "unit": unit})
    assert code == 1
    assert said in found["problems"][0]["cure"]
    assert found["problems"][0]["count"] == 6


def test_types_that_leave_most_events_out_are_warned_of(tmp_path):
    code, found = run(tmp_path, {"what": [*"vvvvbb"]}, event={"column": "what", "types": {"b": 1}})
    problem = next(problem for problem in found["problems"] if problem["kind"] == "light_events")
    assert (code, problem["column"], problem["count"]) == (0, "what", 4)
    assert found["summary"]["interactions"]["left_out_by_weight"] == 4


def test_missing_columns_are_all_named_with_what_is_close(tmp_path):
    code, found = run(tmp_path, user="usr", event={"column": "what", "types": {"buy": 1}})
    problems = {problem["column"]: problem for problem in found["problems"]}
    assert code == 1
    assert problems["usr"]["cure"] == "Did you mean 'user'?"
    assert problems["what"]["examples"][0]["found"] == "it has 'user', 'item', 'time'"
    assert places(problems["usr"]) == [("part-0.csv", None), ("part-1.csv", None)]
    assert found["summary"]["items"]["ids"] == 3


def test_rows_of_too_many_fields_are_named_and_move_no_row_after_them(tmp_path):
    run(tmp_path)
    (tmp_path / "log" / "part-1.csv").write_text("user,item,time\nv,a,1000000003\nv,b\nv,b,1,2\n,b,1000000004\nv,b,x\n")
    code = main(["check", "--schema", str(tmp_path / "own.yaml"), "--json", str(tmp_path / "found.json")])
    problems = {problem["kind"]: problem for problem in json.loads((tmp_path / "found.json").read_text())["problems"]}
    assert code == 1
    assert places(problems["malformed_row"]) == [("part-1.csv", 2), ("part-1.csv", 3)]
    assert problems["malformed_row"]["examples"][1]["found"] == "4 fields, expected 3: 'v,b,1,2'"
    assert places(problems["missing_value"]) == [("part-1.csv", 4)]
    assert places(problems["wrong_value"]) == [("part-1.csv", 5)]


def test_a_sample_is_the_first_rows_of_each_shard(tmp_path):
    _, found = run(tmp_path, sample=2)
    assert (found["summary"]["interactions"]["rows"], found["summary"]["interactions"]["events"]) == (2, 2)
    assert {problem["kind"] for problem in found["problems"]} == {"single_event", "no_event"}


def test_what_cannot_be_read_at_all_is_an_error_of_the_user(tmp_path):
    with pytest.raises(UserError, match=r"schema .*own.yaml does not exist; `python -m trainer.data init FILES`"):
        main(["check", "--schema", str(tmp_path / "own.yaml")])
    with pytest.raises(UserError, match="--sample is -1"):
        main(["check", "--schema", str(tmp_path / "own.yaml"), "--sample", "-1"])


@pytest.mark.parametrize("place", ["nowhere/found.json", "."])
def test_a_place_that_nothing_can_be_written_to_is_refused_before_reading(tmp_path, place, monkeypatch):
    run(tmp_path)
    monkeypatch.setattr(command, "check", lambda *_: pytest.fail("it has read"))
    with pytest.raises(UserError, match=r"--json .* cannot be written; expected a file in a directory that exists"):
        main(["check", "--schema", str(tmp_path / "own.yaml"), "--json", str(tmp_path / place)])


def test_what_cannot_be_written_is_named(tmp_path):
    run(tmp_path)
    with pytest.raises(UserError, match=r"cannot write /dev/full: No space left"):
        main(["check", "--schema", str(tmp_path / "own.yaml"), "--json", "/dev/full"])


def test_more_text_than_a_column_holds_is_named():
    text = pa.py_buffer(mmap.mmap(-1, 2**30))  # zeros, of which none is in memory
    half = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2**30], np.int32)), text)
    with pytest.raises(UserError, match=r"items: feature 'about' does not fit .* at most 2 GiB of text"):
        joined([{"about": half}] * 3, "items")


def test_help_teaches_by_example(capsys):
    for argv in (["--help"], ["check", "--help"], ["init", "--help"]):
        with pytest.raises(SystemExit):
            main(argv)
        assert "python -m trainer.data check --schema shop.yaml" in capsys.readouterr().out
