import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from beam_index.build import main, run_here
from beam_index.files import write_records
from beam_index.forecast import forecast
from beam_index.options import parse
from beam_index.plan import make_plan
from protos.artifact import read_manifest, write_manifest
from protos.errors import UserError
from tests.beam_index.oracle import ready_lists, written_bytes, written_lists
from tests.beam_index.tables import TableScorer, lists_table, replace_scorer, write_table_export
from tests.support.exports import EXPORT_FORMAT

IN_MEMORY = "--direct_running_mode=in_memory"
READY = lists_table([(3, [4, 0], [2.0, 1.0]), (7, [1], [0.5])])


def build(model, index, *options):
    return run_here(
        ["--model", str(model), "--output", str(index), "--no-progress", "--quality_queries=0", IN_MEMORY, *options]
    )


def snapshot(directory: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_manifest_reconciles_with_the_files(residual_export, tmp_path):
    index = tmp_path / "index"
    report = build(residual_export, index, "--postings_per_code=4", "--num_shards=2")
    manifest = read_manifest(index, "sparcode.index/3")
    assert report.manifest == manifest
    lists = written_lists(index)
    ready = ready_lists(residual_export, bias=0.1)
    listed = {item for each in lists for item in each.items}
    export = read_manifest(residual_export, EXPORT_FORMAT)
    assert manifest["model_fingerprint"] == export["fingerprint"]
    assert manifest["model"] == export["model"]
    assert manifest["counts"] == {
        "codes": 12,
        "ready_lists": len(ready),
        "postings": sum(len(each.items) for each in lists),
        "empty_lists": sum(not each.items for each in lists),
        "items_in_no_list": 40 - len(listed),
        "records": {
            "items": {"in": 40, "used": 40, "bad": 0},
            "ready_lists": {"in": len(ready), "used": len(ready), "bad": 0},
        },
    }
    assert manifest["items"] == 40
    assert manifest["codes"] == 12
    assert manifest["ready_lists"] == len(lists) - 12 == len(ready) > 0
    assert manifest["postings"] == manifest["counts"]["postings"] > 0
    assert manifest["block"] == {"bits": 8, "tile_items": 4096}
    assert manifest["options"] == {
        **{"postings_per_code": 4, "max_code_postings": None, "threshold": None, "score_bits": 16},
        **{"candidates": None, "codes": "all", "num_shards": 2},
    }
    assert manifest["tiles"] is None
    assert set(manifest["versions"]) == {"python", "tensorflow", "apache-beam", "numpy"}
    assert report.total_bytes == sum(path.stat().st_size for path in index.glob("*.tfrecord"))


def test_building_again_gives_an_equal_index(residual_export, tmp_path):
    for name in ("one", "two"):
        build(residual_export, tmp_path / name)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


def test_no_block_writes_none(residual_export, tmp_path):
    index = tmp_path / "index"
    report = build(residual_export, index, "--no_block")
    assert report.manifest["block"] is None
    assert not list(index.glob("block-*"))


@pytest.mark.parametrize(
    ("codes", "few", "observed"),
    [("auto", 12, False), ("auto", 11, True), ("all", 11, False), ("observed", 12, True)],
)
def test_few_codes_are_all_scored_and_many_only_where_observed(
    residual_export, tmp_path, monkeypatch, codes, few, observed
):
    monkeypatch.setattr("beam_index.plan.FEW_CODES", few)
    options, _ = parse(["--model", str(residual_export), "--output", "index", "--codes", codes])
    plan = make_plan(options, read_manifest(residual_export, EXPORT_FORMAT), tmp_path, journal="")
    assert plan.queries == (str(residual_export / "queries.parquet") if observed else None)


def test_queries_of_ones_own_choose_the_observed_codes(residual_export, tmp_path):
    queries = tmp_path / "queries.parquet"
    pq.write_table(pa.table({"history": [["item-3"]]}), queries)
    report = build(residual_export, tmp_path / "index", "--codes=observed", "--queries", str(queries))
    assert report.manifest["codes"] == 3  # one token a slot


def test_the_summary_tells_what_was_built(residual_export, tmp_path):
    text = str(build(residual_export, tmp_path / "index", "--postings_per_code=4"))
    lists = written_lists(tmp_path / "index")
    postings = sum(len(each.items) for each in lists)
    assert "12 (all), 0 lists empty" in text
    assert f"ready lists       {len(lists) - 12}\n" in text
    assert f"{postings}, {postings / len(lists):.1f} a list" in text
    assert "of 40" in text


def test_an_index_is_replaced(residual_export, product_export, tmp_path):
    index = tmp_path / "index"
    build(residual_export, index)
    build(product_export, index)
    assert [each.key for each in written_lists(index)][:16] == list(range(16))
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_an_index_of_an_older_format_is_replaced(residual_export, tmp_path):
    write_manifest(tmp_path, "sparcode.index/1")
    build(residual_export, tmp_path)
    assert read_manifest(tmp_path, "sparcode.index/3")["codes"] == 12


BAD_SCORES = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


@pytest.mark.parametrize(
    ("value", "mode"), [("nan", "in_memory"), ("nan", "multi_threading"), ("inf", "in_memory"), ("-inf", "in_memory")]
)
def test_scores_that_are_not_finite_are_named_and_nothing_is_left(tmp_path, value, mode):
    table = np.ones((30, 4100), np.float32)
    table[17, 4098] = BAD_SCORES[value]
    export = write_table_export(tmp_path / "export", table)
    with pytest.raises(UserError) as caught:
        build(export, tmp_path / "index", f"--direct_running_mode={mode}")
    message = str(caught.value)
    assert f"gave {value} for code key 17 (slot 0, codes [17]) and item 'item-4098' (row 4098)" in message
    assert message.endswith("export the model again")
    assert [path.name for path in tmp_path.iterdir() if "index" in path.name] == []


def test_a_failing_build_leaves_the_old_index_as_it_was(residual_export, tmp_path):
    index = tmp_path / "index"
    build(residual_export, index)
    before = snapshot(index)
    export = write_table_export(tmp_path / "export", np.full((3, 5), np.nan))
    with pytest.raises(UserError, match="scores must be finite"):
        build(export, index)
    assert snapshot(index) == before
    assert [path.name for path in tmp_path.iterdir() if "index" in path.name] == ["index"]


@pytest.mark.parametrize(
    ("kind", "ready", "error", "message"),
    [
        ("postings", None, RuntimeError, r"codes_scored is 3, its files hold 2"),
        ("postings", READY, UserError, r"runner lost records: the files hold 1 ready lists, expected 2; no index"),
        ("block", READY, UserError, r"runner lost records: block-00000-of-00001.tfrecord of the block has 0 bytes"),
    ],
)
def test_files_that_hold_less_than_was_made_are_no_index(tmp_path, monkeypatch, kind, ready, error, message):
    export = write_table_export(tmp_path / "export", np.ones((3, 5), np.float32), ready=ready)

    def lossy(path, records):
        write_records(path, list(records)[:-1] if path.name.startswith(kind) else records)

    for module in ("pipeline", "block_files"):
        monkeypatch.setattr(f"beam_index.{module}.write_records", lossy)
    with pytest.raises(error, match=message):
        build(export, tmp_path / "index", *(["--no_block"] if kind == "postings" else []))
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


class FlatScorer(TableScorer):
    """Gives the scores of all pairs in one row."""

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int64, name="keys"), tf.TensorSpec([None], tf.int32, name="items")]
    )
    def __call__(self, keys: tf.Tensor, items: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.reshape(super().__call__(keys, items)["scores"], [-1])}


def test_a_scorer_of_another_shape_is_named(tmp_path):
    table = np.ones((3, 5), np.float32)
    export = replace_scorer(write_table_export(tmp_path / "export", table), FlatScorer(table))
    with pytest.raises(
        UserError, match=r"gave float32 \[65536\] for 64 codes and 1024 items; expected float32 \[codes, items"
    ):
        build(export, tmp_path / "index")


def damage(export: pathlib.Path, kind: str) -> None:
    if kind == "no manifest":
        (export / "manifest.json").unlink()
    elif kind == "truncated":
        path = export / "items.parquet"
        path.write_bytes(path.read_bytes()[:-1])
    elif kind == "missing file":
        (export / "queries.parquet").unlink()
    elif kind == "other format":
        manifest = json.loads((export / "manifest.json").read_text())
        (export / "manifest.json").write_text(json.dumps(manifest | {"format": "sparcode.export/9"}))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no manifest", r"has no manifest\.json: it is not a complete sparcode\.export/2"),
        ("truncated", r"items\.parquet has \d+ bytes, its manifest says \d+"),
        ("missing file", r"queries\.parquet is missing"),
        ("other format", r"format is 'sparcode\.export/9', expected 'sparcode\.export/2'"),
    ],
)
def test_a_damaged_export_is_refused_before_work_starts(residual_export, tmp_path, kind, message):
    export = shutil.copytree(residual_export, tmp_path / "export")
    damage(export, kind)
    with pytest.raises(UserError, match=message):
        build(export, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_missing_export_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no-such-export does not exist"):
        build(tmp_path / "no-such-export", tmp_path / "index")


def test_an_output_that_is_not_an_index_is_not_replaced(residual_export, tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    for output in (tmp_path, tmp_path / "precious.txt", residual_export):
        with pytest.raises(UserError, match=r"exists and is not an index"):
            build(residual_export, output)
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_an_output_below_a_file_is_refused(residual_export, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--output .* cannot be written: .*file is not a directory"):
        build(residual_export, tmp_path / "file" / "index")


def test_an_empty_directory_and_missing_parents_will_do(residual_export, tmp_path):
    (tmp_path / "empty").mkdir()
    build(residual_export, tmp_path / "empty")
    build(residual_export, tmp_path / "new" / "deep" / "index")
    assert written_bytes(tmp_path / "empty", "postings") == written_bytes(
        tmp_path / "new" / "deep" / "index", "postings"
    )


QUERIES = {
    "not parquet": (b"hello", r"is not a parquet file"),
    "no column": (pa.table({"items": [["item-1"]]}), r"has the columns \['items'\]; expected a column 'history'"),
    "another type": (pa.table({"history": ["item-1"]}), r"column 'history' is string; expected list<string>"),
    "list of numbers": (pa.table({"history": [[1]]}), r"column 'history' is list<.*int64>; expected list<string>"),
    "no rows": (pa.table({"history": pa.array([], pa.list_(pa.string()))}), r"has no rows"),
}


@pytest.mark.parametrize("kind", QUERIES)
def test_queries_that_will_not_do_are_refused(residual_export, tmp_path, kind):
    content, message = QUERIES[kind]
    path = tmp_path / "queries.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(content, path)
    with pytest.raises(UserError, match=rf"queries file .* \(--queries\).*{message}"):
        build(residual_export, tmp_path / "index", "--codes=observed", "--queries", str(path))


def test_missing_queries_matter_only_where_they_are_needed(residual_export, tmp_path):
    missing = ["--queries", str(tmp_path / "missing.parquet")]
    build(residual_export, tmp_path / "index", "--codes=all", *missing)
    with pytest.raises(UserError, match=r"missing\.parquet \(--queries\) does not exist"):
        build(residual_export, tmp_path / "index", "--codes=observed", *missing)


REQUIRED = ["--model", "m", "--output", "o"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--postings_per_code=0"], r"--postings_per_code is 0; expected 1 to "),
        (["--num_shards=-1"], r"--num_shards is -1; expected 1 to 99,999"),
        (["--num_shards=100000"], r"--num_shards is 100,000; expected 1 to 99,999"),
        (["--posting_per_code=3"], r"unknown option 'posting_per_code'.*did you mean --postings_per_code\?"),
        (["--direct_num_worker", "3"], r"unknown option 'direct_num_worker'.*did you mean --direct_num_workers\?"),
        (["--no_blocks"], r"unknown option 'no_blocks'.*did you mean --no_block\?"),
        (["elsewhere"], r"unknown option 'elsewhere'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        parse([*REQUIRED, *options])


def test_workers_that_beam_could_not_start_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/a b/python")
    with pytest.raises(UserError, match=r"multi_processing cannot start.*'/a b/python', which has a space"):
        parse([*REQUIRED, "--direct_running_mode=multi_processing"])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], {"runner": "FnApiRunner", "direct_running_mode": "in_memory", "direct_num_workers": 1}),
        (["--direct_running_mode=multi_threading", "--direct_num_workers=3"], {"direct_num_workers": 3}),
        ([IN_MEMORY], {"direct_running_mode": "in_memory", "direct_num_workers": 1}),
        (["--runner=FlinkRunner", "--flink_master=here:1"], {"runner": "FlinkRunner", "flink_master": "here:1"}),
    ],
)
def test_beams_options_are_passed_through(flags, expected):
    _, options = parse([*REQUIRED, *flags])
    found = options.get_all_options()
    assert {name: found[name] for name in expected} == expected


def test_the_command_builds_and_prints_a_summary(residual_export, tmp_path):
    command = [sys.executable, "-m", "beam_index.build", "--model", residual_export, "--output", tmp_path / "index"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")  # what is done in a moment has no progress to show
    assert "codes             12 (all), 0 lists empty" in result.stdout
    build(residual_export, tmp_path / "same")
    for kind in ("postings", "block"):
        assert written_bytes(tmp_path / "index", kind) == written_bytes(tmp_path / "same", kind)


@pytest.mark.parametrize(
    "flags", [[], ["--postings-per-code=4", "--no_block", "--score_bits=8"]], ids=["block", "lists"]
)
def test_a_dry_run_writes_nothing_and_the_build_keeps_within_what_it_said(wide_export, flags, tmp_path, capsys):
    index = tmp_path / "index"
    main(["--model", str(wide_export), "--output", str(index), "--dry_run", *flags])
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[:2])
    assert list(tmp_path.iterdir()) == []
    options, _ = parse(["--model", str(wide_export), "--output", str(index), *flags])
    told = forecast(options)
    report = build(wide_export, index, *flags)
    assert (said["codes"], said["items"]) == (f"{told.codes:,}", f"{told.items:,}")
    assert (told.codes, told.items, told.pairs) == (report.manifest["codes"], report.manifest["items"], report.pairs)
    assert report.total_bytes <= told.most_bytes < 1.5 * report.total_bytes
    assert 0 < told.seconds < 60


def test_where_tensorflow_runs_several_threads_an_op_the_build_takes_a_process_of_its_own(
    residual_export, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")  # see conftest.py
    main(["--model", str(residual_export), "--output", str(tmp_path / "index"), "--no-progress"])
    assert "12 (all)" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "index", "sparcode.index/3")
    assert manifest["codes"] + manifest["ready_lists"] == len(written_lists(tmp_path / "index"))
