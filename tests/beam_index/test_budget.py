"""An index within a budget: it fits, and it is the best of what fits, as building each of them shows."""

from __future__ import annotations

import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_index.budget.choice import Candidate, Measured, ranked
from beam_index.budget.sizes import Sizes, sizes_of
from beam_index.build import run_here
from beam_index.options import parse
from beam_index.plan import make_plan
from beam_index.quality import CheckOptions, check
from beam_index.quality.check import plan_of
from protos.artifact import read_manifest
from protos.errors import UserError
from tests.beam_index.oracle import written_lists
from tests.support.exports import TinySpec, random_histories, write_tiny_export


def build(model: pathlib.Path, index: pathlib.Path, *options: str):
    in_memory = "--direct_running_mode=in_memory"
    return run_here(["--model", str(model), "--output", str(index), "--no-progress", in_memory, *options])


def written(index: pathlib.Path) -> dict[str, bytes]:
    """The files of lists and block."""
    return {path.name: path.read_bytes() for path in index.glob("*.tfrecord")}


def size(index: pathlib.Path) -> int:
    return sum(map(len, written(index).values()))


def explicit(candidate: dict) -> list[str]:
    """The options that build a candidate."""
    flags = [f"--postings_per_code={candidate['postings_per_code']}", f"--score_bits={candidate['score_bits']}"]
    return flags if candidate["block"] else [*flags, "--no_block"]


def without_targets(path: pathlib.Path, spec: TinySpec, count: int) -> pathlib.Path:
    histories = pa.array(random_histories(spec, count, seed=4), pa.list_(pa.string()))
    pq.write_table(pa.table({"history": histories}), path)
    return path


def require_best(model: pathlib.Path, root: pathlib.Path, budget: dict, *options: str) -> None:
    """Builds every candidate and measures it: its accuracy and bytes are as said, and the first is the best."""
    queries = next((flag.partition("=")[2] for flag in options if flag.startswith("--queries=")), None)
    measured_by = CheckOptions(pathlib.Path(queries or model / "queries.parquet"))
    found = []
    for place, candidate in enumerate(budget["candidates"]):
        index = root / f"candidate-{place}"
        build(model, index, *explicit(candidate), "--quality_queries=0", *options)
        accuracy = check(model, index, measured_by).sums[candidate["sums"]][budget["measure"]]
        assert accuracy == pytest.approx(candidate["accuracy"], abs=2e-6)
        assert size(index) <= candidate["bytes"] <= budget["max_bytes"]
        found.append((-candidate["accuracy"], candidate["bytes"]))
    assert found == sorted(found)
    assert [candidate["chosen"] for candidate in budget["candidates"]] == [True] + [False] * (len(found) - 1)
    assert written(root / "index") == written(root / "candidate-0")


# --- The choice ----------------------------------------------------------------------------------


@pytest.mark.parametrize("max_bytes", [3200, 3700, 5000])
def test_the_best_by_targets_is_built_and_fits(residual_export, tmp_path, max_bytes):
    report = build(residual_export, tmp_path / "index", f"--max_bytes={max_bytes}")
    manifest = read_manifest(tmp_path / "index", "sparcode.index/3")
    assert size(tmp_path / "index") == report.total_bytes <= max_bytes
    budget = manifest["budget"]
    assert (budget["measure"], budget["queries"], budget["fixed"]) == ("ndcg@50", 10, [])
    chosen = budget["candidates"][0]
    assert {name: manifest["options"][name] for name in ("postings_per_code", "score_bits")} == {
        name: chosen[name] for name in ("postings_per_code", "score_bits")
    }
    assert bool(manifest["block"]) == chosen["block"]
    require_best(residual_export, tmp_path, budget)


def test_without_targets_the_best_is_the_nearest_to_exact_scoring(wide_export, tmp_path):
    spec = TinySpec(num_items=8501, num_query_tokens=2, num_codewords=160, dim=16, bias=0.5)
    queries = f"--queries={without_targets(tmp_path / 'queries.parquet', spec, 10)}"
    build(wide_export, tmp_path / "index", "--max_bytes=4000000", queries)
    budget = read_manifest(tmp_path / "index", "sparcode.index/3")["budget"]
    assert (budget["measure"], budget["queries"]) == ("overlap@50", 10)
    assert {(each["block"], each["score_bits"]) for each in budget["candidates"]} == {
        (block, bits) for block in (True, False) for bits in (8, 16)
    }
    assert len({each["accuracy"] for each in budget["candidates"]}) >= 3
    assert size(tmp_path / "index") > 0.9 * 4000000  # what fits is used
    require_best(wide_export, tmp_path, budget, queries)


def test_tokens_whose_list_is_empty_are_answered_as_by_the_index(tmp_path):
    model = write_tiny_export(tmp_path / "export", TinySpec(num_codewords=8, bias=-6.0))
    build(model, tmp_path / "index", "--max_bytes=4000")
    lists = [each for each in written_lists(tmp_path / "index") if each.key < 24]
    assert 0 < sum(not each.items for each in lists) < 24
    assert check(model, tmp_path / "index").unknown > 0
    require_best(model, tmp_path, read_manifest(tmp_path / "index", "sparcode.index/3")["budget"])


def test_observed_codes_alone_count(residual_export, tmp_path):
    queries = without_targets(tmp_path / "queries.parquet", TinySpec(), 3)
    observed = ["--codes=observed", f"--queries={queries}"]
    report = build(residual_export, tmp_path / "index", "--max_bytes=3200", *observed)
    assert report.manifest["codes"] < 12
    require_best(residual_export, tmp_path, report.manifest["budget"], *observed)


def test_a_threshold_is_kept_to(residual_export, tmp_path):
    report = build(residual_export, tmp_path / "index", "--max_bytes=4000", "--threshold=2.5")
    assert report.manifest["options"]["threshold"] == 2.5
    require_best(residual_export, tmp_path, report.manifest["budget"], "--threshold=2.5")


@pytest.mark.parametrize(
    ("given", "fixed", "found"),
    [
        (["--no_block"], ["block"], {"block": {False}, "score_bits": {8, 16}}),
        (["--score_bits=32"], ["score_bits"], {"block": {False, True}, "score_bits": {32}}),
        (["--postings_per_code", "3"], ["postings_per_code"], {"postings_per_code": {3}, "block": {False, True}}),
        (
            ["--score_bits=16", "--no_block", "--postings_per_code=50"],
            ["block", "postings_per_code", "score_bits"],
            {"postings_per_code": {50}},
        ),
    ],
)
def test_what_is_given_is_not_chosen(residual_export, tmp_path, given, fixed, found):
    budget = build(residual_export, tmp_path / "index", "--max_bytes=6000", *given).manifest["budget"]
    assert sorted(budget["fixed"]) == fixed
    for name, values in found.items():
        assert {candidate[name] for candidate in budget["candidates"]} == values


def test_of_equals_the_smaller_is_better():
    small, large, best = (Candidate(False, 8, length, length) for length in (1, 2, 3))
    found = ranked([Measured(large, 0.5), Measured(best, 0.6), Measured(small, 0.5)])
    assert [each.candidate for each in found] == [best, small, large]


# --- Sizes ---------------------------------------------------------------------------------------


@given(st.integers(1, 40000), st.integers(1, 500), st.integers(0, 10**8), st.booleans(), st.sampled_from([8, 16, 32]))
def test_the_longest_lists_that_fit_are_found(num_items, num_codes, max_bytes, block, bits):
    sizes = Sizes(num_codes, num_items, 5, 50)
    length = sizes.longest(block, bits, max_bytes)
    assert length == 0 or sizes.total(block, bits, length) <= max_bytes
    assert length == num_items or sizes.total(block, bits, length + 1) > max_bytes


@pytest.mark.parametrize("flags", [["--no_block"], [], ["--num_shards=7"]])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_no_index_is_larger_than_reckoned_and_none_much_smaller(wide_export, tmp_path, flags, bits):
    build(
        wide_export,
        tmp_path / "index",
        "--postings_per_code=150",
        f"--score_bits={bits}",
        "--quality_queries=0",
        *flags,
    )
    reckoned = sizes_of(plan_of(wide_export, tmp_path), 320).total("--no_block" not in flags, bits, 150)
    assert 0.6 * reckoned < size(tmp_path / "index") <= reckoned


def test_a_budget_too_small_says_the_least_that_would_do(residual_export, tmp_path):
    with pytest.raises(UserError, match=r"--max_bytes is 100, too small: the \d+ ready lists") as error:
        build(residual_export, tmp_path / "index", "--max_bytes=100")
    least = int(str(error.value).partition("allow at least ")[2].split()[0].rstrip(",").replace(",", ""))
    with pytest.raises(UserError, match=f"allow at least {least:,}"):
        build(residual_export, tmp_path / "index", f"--max_bytes={least - 1}")
    assert not (tmp_path / "index").exists()
    report = build(residual_export, tmp_path / "index", f"--max_bytes={least}")
    assert report.manifest["options"]["postings_per_code"] == 1


def test_an_index_over_its_budget_is_not_published(residual_export, tmp_path, monkeypatch):
    monkeypatch.setattr(Sizes, "total", lambda *_: 10)
    with pytest.raises(UserError, match=r"--max_bytes is 100, but the index takes [\d,]+ bytes, more than the 10"):
        build(residual_export, tmp_path / "index", "--max_bytes=100")
    assert not (tmp_path / "index").exists()


def test_a_block_with_too_many_files_is_not_tried(residual_export, tmp_path, monkeypatch):
    monkeypatch.setattr("beam_index.budget.sizes.MAX_SHARDS", 0)
    budget = build(residual_export, tmp_path / "index", "--max_bytes=6000").manifest["budget"]
    assert not any(candidate["block"] for candidate in budget["candidates"])


# --- Options and report --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max_bytes=0"], r"--max_bytes is 0; expected 1 to"),
        (["--max_bytes=9", "--max_postings=5"], r"--max_bytes cannot be combined with --max_postings: both"),
        (["--max_bytes=9", "--base_index=b"], r"--max_bytes cannot be combined with --base_index: an update"),
        (["--max_bytes=9", "--candidates=5000", "--no_block"], r"--max_bytes cannot be combined with --candidates"),
        (["--max_bytes=9", "--quality_queries=0"], r"--max_bytes 9 needs --quality_queries above 0"),
    ],
)
def test_what_does_not_go_together_is_named(flags, message):
    with pytest.raises(UserError, match=message):
        parse(["--model", "m", "--output", "o", *flags])


def test_without_a_budget_options_are_as_ever(residual_export, tmp_path):
    options, _ = parse(["--model", str(residual_export), "--output", "o", "--score_bits=8"])
    plan = make_plan(options, read_manifest(residual_export, "sparcode.export/2"), tmp_path, journal="")
    assert (plan.score_bits, plan.postings_per_code, plan.block) == (8, 1000, True)
    assert build(residual_export, tmp_path / "index").manifest["budget"] is None


def test_queries_that_tell_nothing_are_named(residual_export, tmp_path):
    queries = without_targets(tmp_path / "none.parquet", TinySpec(), 0)
    with pytest.raises(UserError, match=r"none of the 0 queries sampled of .*none\.parquet has targets"):
        build(residual_export, tmp_path / "index", "--max_bytes=6000", f"--queries={queries}")
    with pytest.raises(UserError, match=r"absent\.parquet \(--queries\) does not exist"):
        build(residual_export, tmp_path / "index", "--max_bytes=6000", f"--queries={tmp_path / 'absent.parquet'}")


def test_the_report_has_a_table_and_a_picture_of_the_candidates(residual_export, tmp_path):
    report = build(residual_export, tmp_path / "index", "--max_bytes=5000")
    page, quality = (
        (tmp_path / "index" / name).read_text(encoding="utf-8") for name in ("quality.html", "quality.json")
    )
    assert json.loads(quality)["budget"] == report.manifest["budget"]
    assert page.count("<svg") == 5
    for candidate in report.budget.measured:
        assert f"<td>{candidate.candidate.bytes:,}</td><td>{candidate.accuracy:.4f}</td>" in page
    assert f"<td>{report.budget.chosen} (chosen)</td>" in page
    assert f"chosen            {report.budget.chosen}: " in str(report)
