"""Bad records: what becomes of an index with few of them, and of a build with too many."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_index.build import run_here
from protos.errors import UserError
from tests.beam_index.oracle import written_bytes, written_lists
from tests.beam_index.staged import Catalogue, write_staged_export
from tests.beam_index.tables import lists_table, write_table_export

KINDS = ("postings", "block")
NUM_CODES, NUM_ITEMS = 3, 10


def build(model, index, *options):
    fixed = ["--direct_running_mode=in_memory", "--no-progress", "--quality_queries=0", "--postings_per_code=40"]
    return run_here(["--model", str(model), "--output", str(index), *fixed, *options])


def letters(index) -> list[dict]:
    path = index / "dead_letters.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def poisoned(catalogue: Catalogue, rows: list[int], value: float = np.nan) -> Catalogue:
    vectors = catalogue.vectors.copy()
    vectors[rows, 3] = value
    return Catalogue(vectors, catalogue.removed)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("options", [(), ("--no_block", "--candidates=100")], ids=["all", "candidates"])
def test_a_poison_item_is_left_out_of_everything_as_if_removed(tmp_path, value, options):
    catalogue, rows = Catalogue.random(5000), [0, 4097]
    bad = write_staged_export(tmp_path / "bad", poisoned(catalogue, rows, value))
    gone = write_staged_export(tmp_path / "gone", catalogue.with_changes([], rows, 0))
    report = build(bad, tmp_path / "index", *options)
    build(gone, tmp_path / "expected", *options)
    for kind in KINDS:
        assert written_bytes(tmp_path / "index", kind) == written_bytes(tmp_path / "expected", kind)
    assert [(each["kind"], each["row"], each["id"]) for each in letters(tmp_path / "index")] == [
        ("item", row, f"item-{row}") for row in rows
    ]
    assert f"the scorer makes {value} of item 'item-0'" in letters(tmp_path / "index")[0]["reason"]
    assert report.manifest["counts"]["records"]["items"] == {"in": 5000, "used": 4998, "bad": 2}
    assert "dead_letters.jsonl" in report.manifest["files"]
    assert not letters(tmp_path / "expected")


def test_items_at_the_threshold_pass_and_one_more_fails(tmp_path):
    catalogue = Catalogue.random(1000)
    build(write_staged_export(tmp_path / "one", poisoned(catalogue, [7])), tmp_path / "index", "--no_block")
    export = write_staged_export(tmp_path / "two", poisoned(catalogue, [7, 9]))
    with pytest.raises(UserError, match=r"2 of 1,000 records are bad \(0.200%\), --max_bad_share 0.001.*row 7: .*nan"):
        build(export, tmp_path / "index", "--no_block")
    assert len(letters(tmp_path / "index")) == 1


def test_an_update_leaves_a_poison_item_out_as_a_full_build_does(tmp_path):
    catalogue = Catalogue.random(5000)
    build(write_staged_export(tmp_path / "old", catalogue), tmp_path / "base", "--updatable")
    export = write_staged_export(tmp_path / "new", poisoned(catalogue, [11]))
    build(export, tmp_path / "full", "--updatable")
    build(export, tmp_path / "update", "--updatable", "--base_index", str(tmp_path / "base"))
    for kind in KINDS:
        assert written_bytes(tmp_path / "update", kind) == written_bytes(tmp_path / "full", kind)
    assert letters(tmp_path / "update") == letters(tmp_path / "full") != []


@pytest.mark.parametrize("num_shards", [1, 3])
def test_bad_ready_lists_are_left_out_as_if_never_there(tmp_path, num_shards):
    table = np.random.default_rng(0).normal(size=(NUM_CODES, NUM_ITEMS)).astype(np.float32)
    good = [(key, [1, key % 5 + 3], [2.0, 1.0]) for key in range(10, 20)]
    bad = {0: (3, [99], [1.0]), 4: (3, [1], [1.0]), 5: (13, None, [1.0]), 12: (40, [2], [np.nan]), 13: (None, [1], [1])}
    mixed = list(good)
    for row, each in sorted(bad.items()):
        mixed.insert(row, each)
    options = ["--max_bad_share=0.4", f"--num_shards={num_shards}"]
    export = write_table_export(tmp_path / "mixed", table, ready=lists_table(mixed), group=4)
    report = build(export, tmp_path / "index", *options)
    build(write_table_export(tmp_path / "good", table, ready=lists_table(good), group=4), tmp_path / "same", *options)
    for path in (tmp_path / "same").glob("postings-*"):
        assert path.read_bytes() == (tmp_path / "index" / path.name).read_bytes()
    found = letters(tmp_path / "index")
    assert [(each["kind"], each["row"], each["id"]) for each in found] == [
        ("ready_list", row, each[0]) for row, each in bad.items()
    ]
    assert report.manifest["counts"]["records"]["ready_lists"] == {"in": 15, "used": 10, "bad": 5}
    with pytest.raises(UserError, match=r"5 of 15 records are bad.* and 2 more; export the model again"):
        build(export, tmp_path / "index")
    assert len(written_lists(tmp_path / "index")) == NUM_CODES + 10


def test_bad_histories_observe_nothing(residual_export, tmp_path):
    kind = pa.list_(pa.string())
    histories = [["item-1"], None, [], ["item-7", None]]
    pq.write_table(pa.table({"history": pa.array(histories, kind)}), tmp_path / "mixed.parquet")
    pq.write_table(pa.table({"history": pa.array([["item-1"], []], kind)}), tmp_path / "good.parquet")
    options = ["--codes=observed", "--max_bad_share=0.5", "--queries"]
    report = build(residual_export, tmp_path / "index", *options, str(tmp_path / "mixed.parquet"))
    build(residual_export, tmp_path / "same", *options, str(tmp_path / "good.parquet"))
    assert written_bytes(tmp_path / "index", "postings") == written_bytes(tmp_path / "same", "postings")
    assert [(each["row"], each["id"]) for each in letters(tmp_path / "index")] == [(1, None), (3, None)]
    assert report.manifest["counts"]["records"]["queries"] == {"in": 4, "used": 2, "bad": 2}
    with pytest.raises(UserError, match=r"2 of 4 records are bad.*row 1: the history is null.*null at place 1"):
        build(residual_export, tmp_path / "other", "--codes=observed", "--queries", str(tmp_path / "mixed.parquet"))
    assert not (tmp_path / "other").exists()
