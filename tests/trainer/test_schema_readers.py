"""Files that are hard to read give all of their rows."""

from __future__ import annotations

import gzip
import json
import pathlib

import pyarrow.json
import pytest

from protos.errors import UserError
from tests.support.own_data import write, write_schema
from tests.trainer.test_data_interactions import public
from trainer.data import load
from trainer.data.__main__ import main
from trainer.data.schema import json_lines
from trainer.data.schema.sniff import sniff

NAMED = {"user": "user", "item": "item", "time": "time"}


def loaded(path: pathlib.Path, name: str, content: str, **more):
    """The interactions of a log of this text."""
    (path / name).write_text(content)
    return load(write_schema(path / "own.yaml", {"interactions": {"files": name, **NAMED, **more}}))


QUOTED = 'user	item	time\nu	"12 inch	1\nu	b	2\nu	c"	3\n'


def test_a_quote_that_begins_a_field_of_tsv_is_part_of_it(tmp_path):
    assert [item for _, item, _ in public(loaded(tmp_path, "log.tsv", QUOTED))] == ['"12 inch', "b", 'c"']
    data = loaded(tmp_path, "log.csv", QUOTED, separator="\t")
    assert [item for _, item, _ in public(data)] == ['"12 inch', "b", 'c"']
    (sniffed,) = sniff([str(tmp_path / "log.tsv")])
    assert sniffed.columns["item"].to_pylist() == ['"12 inch', "b", 'c"']


@pytest.mark.parametrize(
    ("name", "quote", "cell", "item"),
    [
        ("log.csv", "", '"a,b"', "a,b"),
        ("log.csv", "'", "'a,b'", "a,b"),
        ("log.csv", "none", '"ab', '"ab'),
        ("log.tsv", '"', '"a\nb"', "a\nb"),
        ("log.tsv", "none", "'ab", "'ab"),
    ],
)
def test_quotes_are_those_of_the_schema(tmp_path, name, quote, cell, item):
    separator = "\t" if name.endswith("tsv") else ","
    rows = [["user", "item", "time"], ["u", cell, "1"], ["u", "z", "2"]]
    content = "".join(separator.join(row) + "\n" for row in rows)
    assert public(loaded(tmp_path, name, content, quote=quote)) == [("u", item, 1), ("u", "z", 2)]


LATE = {
    "whole numbers, then fractions": ([{"amount": 5}], [{"amount": 5.5}], [5.0, 5.5]),
    "null, then numbers": ([{"amount": None}], [{"amount": 5}], [None, 5.0]),
    "lists of nothing, then of numbers": ([{"look": []}], [{"look": [1, 2.5]}], [None, [1.0, 2.5]]),
    "keys that nobody asked for": ([{"amount": 5}], [{"amount": 6, "note": "late", "other": {"x": 1}}], [5.0, 6.0]),
    "null, then text": ([{"name": None}], [{"name": "n"}], [None, "n"]),
    "times, then other text": ([{"name": "2020-01-01 00:00:00"}], [{"name": "n"}], ["2020-01-01 00:00:00", "n"]),
}


@pytest.mark.parametrize("case", LATE)
def test_json_lines_may_change_after_their_first_block(tmp_path, case, monkeypatch):
    # A block of the first row only.
    monkeypatch.setattr(json_lines, "_READ", pyarrow.json.ReadOptions(block_size=1 << 10))
    first, later, expected = LATE[case]
    rows = [row | {"sku": f"i{n}", "fill": "x" * 600} for n, row in enumerate([*first, *later])]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "log.csv").write_text("user,item,time\nu,i0,1\nu,i1,2\n")
    (column,) = first[0]
    feature = {"name": column, "kind": {"amount": "number", "look": "vector", "name": "category"}[column]}
    items = {"files": "items.jsonl", "id": "sku", "features": [feature]}
    schema = {"interactions": {"files": "log.csv", **NAMED}, "items": items, "max_bad_share": 1}
    data = load(write_schema(tmp_path / "own.yaml", schema))
    assert data.catalogue.features[column].to_pylist() == expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([10, 10.5, 11], [10, 10, 11]),
        ([10, 11, 12.25], [10, 11, 12]),
        (["1970-01-01 00:00:10", "1970-01-01T00:00:11.5Z", "1970-01-02"], [10, 11, 86400]),
    ],
)
def test_times_of_json_lines_may_change_after_their_first_block(tmp_path, times, expected, monkeypatch):
    monkeypatch.setattr(json_lines, "_READ", pyarrow.json.ReadOptions(block_size=1 << 10))
    rows = [{"user": 2**60 + 1, "item": n, "time": time, "fill": "x" * 600} for n, time in enumerate(times)]
    data = loaded(tmp_path, "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert public(data) == [(str(2**60 + 1), str(n), time) for n, time in enumerate(expected)]


def test_a_megabyte_of_json_lines_before_anything_changes(tmp_path):
    rows = [{"user": "u", "item": n, "time": n, "fill": "x" * 1000} for n in range(1500)]
    rows += [{"user": "u", "item": 1500, "time": 1500.5, "note": "late"}]
    assert len(loaded(tmp_path, "log.jsonl", "".join(json.dumps(row) + "\n" for row in rows))) == 1501


FULL = {
    "csv": "user,item,time\nu,a,1000000001\nv,b,1000000002\n",
    "tsv": "user\titem\ttime\nu\ta\t1000000001\nv\tb\t1000000002\n",
    "jsonl": "".join(
        f'{{"user": "{user}", "item": "{item}", "time": 100000000{n}}}\n' for user, item, n in ["ua1", "vb2"]
    ),
    "csv.gz": "user,item,time\nu,a,1000000001\nv,b,1000000002\n",
}
EMPTY = {"nothing": "", "lines": "\n\r\n", "byte order mark": "\ufeff", "header": "user{}item{}time"}


@pytest.mark.parametrize("ending", FULL)
@pytest.mark.parametrize("content", EMPTY)
def test_shards_without_rows_are_no_rows(tmp_path, ending, content):
    if (ending, content) == ("jsonl", "header"):
        pytest.skip("JSON lines have no header")
    compress = gzip.compress if ending.endswith("gz") else bytes
    (tmp_path / "log").mkdir()
    for number, text in enumerate((EMPTY[content].replace("{}", "\t" if ending == "tsv" else ","), FULL[ending])):
        (tmp_path / "log" / f"part-{number}.{ending}").write_bytes(compress(text.encode()))
    expected = [("u", "a", 1_000_000_001), ("v", "b", 1_000_000_002)]
    assert public(load(write_schema(tmp_path / "own.yaml", {"interactions": {"files": "log", **NAMED}}))) == expected
    assert main(["init", str(tmp_path / "log"), "--output", str(tmp_path / "guessed.yaml")]) == 0
    assert public(load(tmp_path / "guessed.yaml")) == expected


def test_shards_without_rows_need_no_header_where_columns_are_named(tmp_path):
    (tmp_path / "part-0.csv").write_text("")
    (tmp_path / "part-1.csv").write_text("u,a,1")  # a row, not a header
    log = {"files": "part-*.csv", "names": ["user", "item", "time"], **NAMED}
    assert public(load(write_schema(tmp_path / "own.yaml", {"interactions": log}))) == [("u", "a", 1)]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet"])
def test_files_without_any_rows_are_named(tmp_path, name):
    write(tmp_path / name, {"user": [], "item": [], "time": []})
    with pytest.raises(UserError, match=rf"no file has rows: .*{name}"):
        main(["init", str(tmp_path / name), "--output", str(tmp_path / "own.yaml")])
    (tmp_path / "log.tsv").write_text(QUOTED)
    items = {"files": name, "id": "user", "title": "item"}
    with pytest.raises(UserError, match=rf"items: no row in .*{name}"):
        load(write_schema(tmp_path / "own.yaml", {"interactions": {"files": "log.tsv", **NAMED}, "items": items}))
