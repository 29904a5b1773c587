"""The whole check: what it reports and what it refuses, as a function, as a command and within a build."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_index.build import run, run_here
from beam_index.options import parse
from beam_index.quality import CheckOptions, check, require_fidelity, write_report
from beam_index.quality.__main__ import main
from beam_index.quality.report import page
from protos.artifact import read_manifest
from protos.errors import UserError
from tests.beam_index.oracle import written_lists
from tests.beam_index.quality_oracle import Oracle
from tests.beam_index.tables import write_table_export
from tests.support.exports import TinySpec, random_histories, random_relevant, write_tiny_export
from tests.support.indexes import TinyIndexSpec, write_tiny_index

CUTS = (7, 3)
FEW = TinyIndexSpec(keys=(0, 1, 5, 6, 8, 9, 11), postings_per_code=5, tile_items=4096)


def build(model, index, *options):
    in_memory = "--direct_running_mode=in_memory"
    return run_here(["--model", str(model), "--output", str(index), "--no-progress", in_memory, *options])


def write_queries(path: pathlib.Path, histories: list[list[str]], relevant: list[list[str]] | None = None):
    columns = {"history": histories} | ({} if relevant is None else {"relevant": relevant})
    kind = pa.list_(pa.string())
    pq.write_table(pa.table({name: pa.array(values, kind) for name, values in columns.items()}), path)
    return path


def options(model: pathlib.Path, limit: int = 512, queries: pathlib.Path | None = None) -> CheckOptions:
    return CheckOptions(queries or model / "queries.parquet", limit, CUTS)


@pytest.fixture(scope="module")
def index(residual_export, tmp_path_factory) -> pathlib.Path:
    return write_tiny_index(tmp_path_factory.mktemp("few") / "index", residual_export, FEW)


def test_measures_are_means_over_the_queries_of_the_export(residual_export, index):
    oracle, quality = Oracle(residual_export, index), check(residual_export, index, options(residual_export))
    histories, relevant = random_histories(TinySpec(), 30), random_relevant(TinySpec(), 30)
    assert quality.queries == {"file": 30, "sample": 30, "with_targets": 10}
    for way in ("sparse", "completed", "rescored"):
        overlaps, recalls = [], []
        for history, targets in zip(histories, relevant, strict=True):
            found, exact = ([row for row, _ in oracle.answer(history, each)][:7] for each in (way, "exact"))
            overlaps.append(len(set(found) & set(exact)) / len(exact))
            if targets:
                recalls.append(sum(oracle.ids[row] in targets for row in found) / len(targets))
        assert quality.sums[way]["overlap@7"] == pytest.approx(np.mean(overlaps))
        assert quality.sums[way]["recall@7"] == pytest.approx(np.mean(recalls))
        assert 0 < quality.sums[way]["dcg_ratio@7"] <= 1
    assert (quality.default_sums, quality.cut) == ("completed", 7)
    assert quality.fidelity == quality.sums["completed"]["overlap@7"]
    assert set(quality.sums["exact"]) == {"ndcg@7", "recall@7"}


def test_coverage_lengths_and_unknown_codes_are_counted(residual_export, index):
    oracle, quality = Oracle(residual_export, index), check(residual_export, index, options(residual_export))
    lists = written_lists(index)
    of_codes = [each for each in lists if each.key < 12]
    assert quality.items_in_no_list == 40 - len({row for each in lists for row in each.items})
    assert quality.items_in_no_code_list == 40 - len({row for each in of_codes for row in each.items})
    assert quality.code_lists.count == 7
    assert quality.code_lists.quantiles["max"] == max(len(each.items) for each in of_codes)
    assert quality.ready_lists.count == len(lists) - 7
    tokens = [token for history in random_histories(TinySpec(), 30) for token in oracle.tokens(history)]
    quantised = [token for token in tokens if token.quantised]
    assert quality.tokens == len(quantised) == 90
    assert quality.unknown == pytest.approx(sum(token.own != token.listed for token in quantised) / 90)
    assert 0 < quality.unknown < 1
    assert quality.without_list == 0
    assert [use.tokens for use in quality.codes] == [30, 30, 30]


def test_a_slot_without_lists_is_counted(residual_export, tmp_path):
    spec = TinyIndexSpec(keys=(0, 9), postings_per_code=5, tile_items=4096)
    quality = check(residual_export, write_tiny_index(tmp_path / "index", residual_export, spec))
    assert quality.without_list == pytest.approx(1 / 3)


def test_an_index_of_everything_is_exact_in_lists_and_nearly_in_its_block(residual_export, tmp_path):
    index = write_tiny_index(tmp_path / "index", residual_export, TinyIndexSpec(tile_items=4096))
    quality = check(residual_export, index)
    for way in ("sparse", "rescored"):
        assert quality.sums[way]["overlap@50"] == pytest.approx(1)
        assert quality.sums[way]["dcg_ratio@50"] == pytest.approx(1)
    assert quality.sums["completed"]["dcg_ratio@50"] > 0.999
    assert quality.unknown == 0


def test_without_a_block_the_sums_that_count_are_sparse(residual_export, tmp_path):
    spec = TinyIndexSpec(postings_per_code=5, block=False)
    quality = check(residual_export, write_tiny_index(tmp_path / "index", residual_export, spec))
    assert (quality.default_sums, quality.fidelity) == ("sparse", quality.sums["sparse"]["overlap@50"])
    assert "completed" not in quality.sums


def test_queries_without_targets_are_measured_by_exact_scoring_alone(residual_export, index, tmp_path):
    queries = write_queries(tmp_path / "old.parquet", random_histories(TinySpec(), 9))
    quality = check(residual_export, index, options(residual_export, queries=queries))
    assert quality.queries == {"file": 9, "sample": 9, "with_targets": 0}
    assert quality.sums["exact"] == {}
    assert set(quality.sums["sparse"]) == {"overlap@7", "overlap@3", "dcg_ratio@7"}
    assert "really chose" not in page(quality)


def test_an_empty_sample_measures_nothing_and_meets_no_demand(residual_export, index, tmp_path):
    queries = write_queries(tmp_path / "none.parquet", [])
    quality = check(residual_export, index, options(residual_export, queries=queries))
    assert quality.queries["sample"] == 0
    assert quality.fidelity is None
    assert quality.unknown is None
    assert "NaN" not in quality.to_json()
    assert "Fidelity -" in page(quality)
    require_fidelity(quality, 0.0)
    with pytest.raises(UserError, match=r"could not be measured.*any of the 0 queries.*--min_fidelity 0\.1 cannot"):
        require_fidelity(quality, 0.1)


def test_an_unfinished_index_is_measured_like_the_finished_one(residual_export, index, tmp_path):
    for path in index.glob("*.tfrecord"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    one, other = (check(residual_export, directory, options(residual_export)) for directory in (index, tmp_path))
    assert one == other


def test_the_check_of_a_wide_catalogue_is_that_of_its_oracle(wide_export, tmp_path):
    index = tmp_path / "index"
    quality = build(wide_export, index, "--postings_per_code=200", "--quality_queries=6").quality
    oracle = Oracle(wide_export, index)
    spec = TinySpec(num_items=8501, num_query_tokens=2, num_codewords=160, dim=16, bias=0.5)
    judging = range(0, 30, 3)  # those with targets, of which six are taken at even distances
    histories = [random_histories(spec, 30)[judging[place * 10 // 6]] for place in range(6)]
    for way in ("sparse", "completed"):
        overlaps = []
        for history in histories:
            found, exact = ({row for row, _ in oracle.answer(history, each)[:50]} for each in (way, "exact"))
            overlaps.append(len(found & exact) / len(exact))
        assert quality.sums[way]["overlap@50"] == pytest.approx(np.mean(overlaps), abs=0.02)


# --- The gate of the build -----------------------------------------------------------------------


def test_a_build_has_its_quality_among_the_files_of_its_manifest(residual_export, tmp_path):
    report = build(residual_export, tmp_path / "index", "--postings_per_code=5")
    manifest = read_manifest(tmp_path / "index", "sparcode.index/3")
    assert {"quality.json", "quality.html"} <= set(manifest["files"])
    found = json.loads((tmp_path / "index" / "quality.json").read_text())
    assert found == json.loads(check(residual_export, tmp_path / "index").to_json())
    assert found["fidelity"] == pytest.approx(report.quality.fidelity, abs=1e-6)
    assert f"fidelity          {report.quality.fidelity:.4f} (overlap@50 of completed sums" in str(report)


def test_an_index_below_the_least_fidelity_is_not_published(residual_export, tmp_path):
    build(residual_export, tmp_path / "index")
    before = {path.name: path.read_bytes() for path in (tmp_path / "index").iterdir()}
    pruned = ["--postings_per_code=1", "--no_block"]
    with pytest.raises(
        UserError, match=r"fidelity of the index is 0\.\d+ \(overlap@50 of sparse sums.*30 queries\), below"
    ):
        build(residual_export, tmp_path / "index", "--min_fidelity=0.99", *pruned)
    assert {path.name: path.read_bytes() for path in (tmp_path / "index").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    build(residual_export, tmp_path / "index", "--min_fidelity=0.01", *pruned)


def test_a_build_whose_workers_are_other_processes_is_measured_too(residual_export, tmp_path, monkeypatch):
    expected = build(residual_export, tmp_path / "one").quality
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")  # of this room's tests: elsewhere nobody has set it
    workers = ["--direct_running_mode=multi_processing", "--direct_num_workers=1"]
    command = ["--model", str(residual_export), "--output", str(tmp_path / "two"), "--no-progress", *workers]
    assert run(command).quality == expected


def test_measuring_can_be_turned_off(residual_export, tmp_path):
    report = build(residual_export, tmp_path / "index", "--quality_queries=0")
    assert report.quality is None
    assert "fidelity          not measured" in str(report)
    assert not list((tmp_path / "index").glob("quality.*"))


def test_without_queries_a_build_is_not_measured_but_meets_no_demand_either(tmp_path):
    export = write_table_export(tmp_path / "export", np.ones((3, 5), np.float32))
    assert build(export, tmp_path / "index").quality is None
    with pytest.raises(UserError, match=r"queries\.parquet \(--queries\) does not exist"):
        build(export, tmp_path / "other", "--min_fidelity=0.5")
    assert not (tmp_path / "other").exists()


def test_queries_that_will_not_do_are_refused_before_anything_is_built(residual_export, tmp_path, monkeypatch):
    monkeypatch.setattr("beam_index.build.build", lambda *_: pytest.fail("it was built"))
    pq.write_table(pa.table({"items": [["item-1"]]}), tmp_path / "q.parquet")
    with pytest.raises(UserError, match=r"q\.parquet \(--queries\) has the columns \['items'\]; expected a column"):
        build(residual_export, tmp_path / "index", "--queries", str(tmp_path / "q.parquet"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--min_fidelity=1.5"], r"--min_fidelity is 1\.5; expected 0 \(only report\) to 1"),
        (["--min_fidelity=-0.1"], r"--min_fidelity is -0\.1; expected"),
        (["--quality_queries=-1"], r"--quality_queries is -1; expected 0"),
        (["--min_fidelity=0.5", "--quality_queries=0"], r"--min_fidelity 0\.5 needs --quality_queries above 0"),
    ],
)
def test_bad_options_of_the_gate_are_named(flags, message):
    with pytest.raises(UserError, match=message):
        parse(["--model", "m", "--output", "o", *flags])


# --- The report and the command ------------------------------------------------------------------


def test_the_report_is_the_same_each_time_and_says_nothing_of_where_it_was_made(residual_export, index, tmp_path):
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_report(check(residual_export, index, options(residual_export)), tmp_path / name)
        found.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert found[0] == found[1]
    assert set(found[0]) == {"quality.json", "quality.html"}
    for content in found[0].values():
        assert str(tmp_path).encode() not in content
        assert not re.search(rb"20\d\d-\d\d-\d\d", content)


def test_the_pictures_depend_on_nobodys_settings(residual_export, index):
    quality = check(residual_export, index, options(residual_export))
    plain = page(quality)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "pink", "svg.fonttype": "path"}):
        assert page(quality) == plain


class Page(HTMLParser):
    """Counts elements and collects what the page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.fetched: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        names = ("src", "href", "xlink:href")
        self.fetched += [value for name, value in attrs if name in names and not value.startswith("#")]


def test_the_page_stands_alone_and_has_tables_pictures_and_advice(residual_export, index):
    found = Page()
    text = page(check(residual_export, index, options(residual_export)))
    found.feed(text)
    assert found.fetched == []
    assert (found.counts["svg"], found.counts["table"]) == (4, 4)
    assert text.count('class="advice"') == 6
    assert "@import" not in text


def test_the_command_writes_its_report_and_ends_with_2_below_the_least_fidelity(residual_export, index, tmp_path):
    command = [sys.executable, "-m", "beam_index.quality", "--model", residual_export, "--index", index]
    command += ["--output", tmp_path / "report", "--k", "7", "3"]
    result = subprocess.run([*command, "--min_fidelity=0.999"], capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert re.search(r"error: the fidelity of the index is 0\.\d+ \(overlap@7 of completed sums.*below", result.stderr)
    assert "Traceback" not in result.stderr
    assert "queries           30 of 30, 10 with targets" in result.stdout
    quality = check(residual_export, index, options(residual_export))
    assert (tmp_path / "report" / "quality.json").read_text() == quality.to_json()
    assert (tmp_path / "report" / "quality.html").read_text() == page(quality)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--quality_queries=0"], r"--quality_queries is 0; expected at least 1"),
        (["--k", "0"], r"--k is 0; expected numbers of 1 and more"),
        (["--min_fidelity=2"], r"--min_fidelity is 2; expected"),
    ],
)
def test_bad_options_of_the_command_are_named(residual_export, index, tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        main(["--model", str(residual_export), "--index", str(index), "--output", str(tmp_path), *flags])


def test_an_index_of_another_model_is_refused(product_export, index, tmp_path):
    with pytest.raises(UserError, match=r"was built from another model"):
        main(["--model", str(product_export), "--index", str(index), "--output", str(tmp_path)])


def test_an_output_that_cannot_be_made_is_named(residual_export, index, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--output .*below cannot be made"):
        main(["--model", str(residual_export), "--index", str(index), "--output", str(tmp_path / "file" / "below")])


def test_other_exports_say_so(tmp_path):
    spec = TinySpec(num_events=0)
    model = write_tiny_export(tmp_path / "model", spec)
    quality = check(model, write_tiny_index(tmp_path / "index", model, TinyIndexSpec(tile_items=4096)))
    assert quality.ready_lists.count == 0
    assert quality.ready_lists.quantiles == {}
    assert "<td>ready</td><td>0</td>" in page(quality)
