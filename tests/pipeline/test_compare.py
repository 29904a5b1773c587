"""A comparison on a small set: what it writes, what it keeps, and what it refuses."""

import csv
import json
import os
import pathlib
import re
import statistics
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipeline import compare
from pipeline.comparison import measuring
from pipeline.comparison.contenders import MODELS, Run, Variation, parse_variations, runs
from pipeline.comparison.statistics import ratio
from pipeline.comparison.store import Measured
from protos.errors import UserError
from tests.pipeline.other_process import report_threads
from trainer import workers
from trainer.config import Config, from_mapping

SMALL = "synthetic:users=80,items=120,interactions=3000,seed=1"
TINY = (
    *("--training.epochs", "2", "--training.validate_every", "1", "--training.batch_events", "400"),
    *("--quantizer.warmup_epochs", "1", "--quantizer.num_codewords", "8", "--tokenizer.dim", "16"),
)
QUALITY = ("recall@50", "ndcg@50", "hr@10", "ndcg@10")
SHORT_LISTS = "[index.postings_per_code=5]"


def run(output: pathlib.Path, *flags: str) -> list[dict]:
    compare.main(["--data", SMALL, "--output", str(output), *TINY, *flags])
    return json.loads((output / "compare.json").read_text())


@pytest.fixture(scope="module")
def seeds_output(tmp_path_factory):
    """Two seeds of a model without codes, which needs no index."""
    directory = tmp_path_factory.mktemp("seeds")
    run(directory, "--models", "two_tower,popularity", "--seeds", "0,1")
    return directory


@pytest.fixture(scope="module")
def served_output(tmp_path_factory):
    directory = tmp_path_factory.mktemp("served")
    run(directory, "--models", "two_tower,sparcode", "--seeds", "0", "--vary", "index.postings_per_code=5")
    return directory


def rows_of(output: pathlib.Path) -> list[dict]:
    return json.loads((output / "compare.json").read_text())


def table_cells(output: pathlib.Path) -> dict[str, list[str]]:
    """First cell to the others of every line of a table in the page."""
    lines = [line for line in (output / "compare.md").read_text().splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)}


# --- What is written -----------------------------------------------------------------------------


def test_every_model_and_seed_has_one_whole_row(seeds_output):
    rows = rows_of(seeds_output)
    assert [(row["model"], row["seed"]) for row in rows] == [("popularity", 0), ("two_tower", 0), ("two_tower", 1)]
    for row in rows:
        assert set(row) == set(measuring.COLUMNS)
        assert all(0 < row[metric] <= 1 and row[f"{metric}_user_error"] > 0 for metric in QUALITY)
        assert 0 < row["validation_ndcg@50"] <= 1
        assert row["epochs"] == (None if row["model"] == "popularity" else 2)
        assert row["train_seconds"] >= 0
    assert rows[1]["ndcg@50"] != rows[2]["ndcg@50"]


def test_the_csv_holds_what_the_json_holds(seeds_output):
    with (seeds_output / "compare.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert found == [{k: "" if v is None else str(v) for k, v in row.items()} for row in rows_of(seeds_output)]


def test_the_table_has_means_and_errors_over_seeds_or_else_over_users(seeds_output):
    rows, cells = rows_of(seeds_output), table_cells(seeds_output)
    for place, metric in enumerate(QUALITY, start=1):
        values = [row[metric] for row in rows if row["model"] == "two_tower"]
        error = statistics.stdev(values) / len(values) ** 0.5
        assert cells["two_tower"][place] == f"{statistics.mean(values):.4f} ± {error:.4f}"
        assert cells["popularity"][place] == f"{rows[0][metric]:.4f} ± {rows[0][f'{metric}_user_error']:.4f}"
    assert [cells[name][0] for name in ("popularity", "two_tower")] == ["1", "2"]


def test_the_page_says_how_it_came_about(seeds_output):
    page = (seeds_output / "compare.md").read_text()
    for words in (SMALL.partition(":")[0], "chronological split", "80 test queries", f"tensorflow {tf.__version__}"):
        assert words in page
    assert f"python -m pipeline.compare --data {SMALL} --output" in page
    assert "over seeds where a model has several, over test users where it has one" in page
    assert "ratio" not in page  # there is no SparCode to take one of


def test_the_picture_is_one(seeds_output):
    assert (seeds_output / "compare.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_served_rows_tell_of_their_index(served_output):
    rows = {row["model"]: row for row in rows_of(served_output)}
    ways = ["sparcode_sparse", "sparcode_completed", "sparcode_rescored"]
    assert list(rows) == ["two_tower", "sparcode", *ways, *(way + SHORT_LISTS for way in ways)]
    for way in ways:
        assert rows[way]["index_bytes"] > rows[way + SHORT_LISTS]["index_bytes"] > 0
        assert rows[way]["unknown_code_rate"] == 0  # every code of a residual quantizer has a list
        assert rows[way]["epochs"] == rows["sparcode"]["epochs"] == 2
        assert rows[way + SHORT_LISTS]["train_seconds"] is None
    # Lists of 1,000 hold the whole catalogue here: only the 8 bits of the block are between the two.
    assert rows["sparcode_completed"]["ndcg@50"] == pytest.approx(rows["sparcode"]["ndcg@50"], rel=0.05)
    assert rows["sparcode_sparse"]["ndcg@50"] != rows["sparcode_sparse" + SHORT_LISTS]["ndcg@50"]


@pytest.mark.long
def test_the_ratio_is_of_the_way_that_validates_best(served_output):
    rows = {row["model"]: row for row in rows_of(served_output)}
    ways = ("sparcode_completed", "sparcode_sparse", "sparcode_rescored")
    best = max(ways, key=lambda way: rows[way]["validation_ndcg@50"])
    (value,) = table_cells(served_output)[f"{best} / two_tower"]
    assert value.startswith(f"{rows[best]['ndcg@50'] / rows['two_tower']['ndcg@50']:.4f} ± ")


@pytest.mark.long
def test_models_that_only_a_comparison_trains(tmp_path):
    names = ["segments", "item_knn", "ease", "distilled_two_tower", "late_interaction", "all_to_all"]
    rows = run(tmp_path, "--models", ",".join(reversed(names)), "--seeds", "3")
    assert [(row["model"], row["seed"]) for row in rows] == [(name, 0) for name in names[:3]] + [
        (name, 3) for name in names[3:]
    ]
    assert "l2=" in rows[2]["tuned"]
    assert "structure: none" in (tmp_path / "runs/all_to_all-3/model/config.yaml").read_text()


# --- Ratios --------------------------------------------------------------------------------------


def measured(values: list[float], per_user: list[float]) -> list[Measured]:
    return [Measured({"ndcg@50": value}, np.array(per_user)) for value in values]


def delta_method(a: list[float], b: list[float]) -> float:
    """The standard error of mean(a) / mean(b), from the covariance matrix."""
    (aa, ab), (_, bb) = np.cov(a, b)
    r = sum(a) / sum(b)
    return np.sqrt((aa - 2 * r * ab + r * r * bb) / len(a)) / statistics.mean(b)


def test_a_ratio_pairs_seeds():
    above, below = [0.30, 0.33, 0.35], [0.20, 0.21, 0.25]
    found = ratio(measured(above, []), measured(below, []))
    assert found.value == pytest.approx(0.98 / 0.66)
    assert found.error == pytest.approx(delta_method(above, below))


def test_a_ratio_of_one_seed_pairs_users():
    above, below = [0.0, 1.0, 0.5, 0.6], [0.1, 0.7, 0.5, 0.0]
    found = ratio(measured([0.525], above), measured([0.325], below))
    assert found.value == pytest.approx(2.1 / 1.3)
    assert found.error == pytest.approx(delta_method(above, below))
    assert ratio(measured([0.5], [0.5]), measured([0.4], [0.4])).error is None  # one user


# --- What is kept --------------------------------------------------------------------------------


def no_training(*_):
    raise AssertionError("trained again")


def test_the_same_command_again_trains_nothing(seeds_output, monkeypatch, capsys):
    before = rows_of(seeds_output)
    monkeypatch.setattr(measuring, "train", no_training)
    assert run(seeds_output, "--models", "two_tower,popularity", "--seeds", "0,1") == before
    assert capsys.readouterr().out.count("finished before, kept") == 3
    with pytest.raises(AssertionError, match="trained again"):
        run(seeds_output, "--models", "two_tower", "--seeds", "2")


def test_a_run_that_was_killed_before_its_rows_were_kept_ends_alike(seeds_output):
    before = rows_of(seeds_output)
    (seeds_output / "runs/two_tower-1/rows.json").unlink()
    after = run(seeds_output, "--models", "two_tower,popularity", "--seeds", "0,1")
    assert after[:2] == before[:2]
    assert after[2] | {"train_seconds": 0} == before[2] | {"train_seconds": 0}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--training.epochs", "3"], r"holds another comparison: training\.epochs was 2, now is 3\. Go on"),
        (
            ["--data", SMALL.replace("seed=1", "seed=2")],
            r"holds another comparison: data was 'synthetic.*now is 'synth",
        ),
    ],
)
def test_another_configuration_or_data_is_refused_by_name(seeds_output, flags, message):
    with pytest.raises(UserError, match=message):
        run(seeds_output, "--models", "popularity", *flags)


# --- What is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "two_tower,sparcod"], f"'sparcod' is unknown; choose from {', '.join(MODELS)}"),
        (["--seeds", "0,x"], "--seeds '0,x': expected different integers"),
        (["--seeds", "1,1"], "--seeds '1,1': expected different integers"),
        (["--jobs", "0"], "--jobs is 0"),
        (["--training.seed", "4"], "--training.seed: .* --seeds"),
        (["--vary", "quantizer.gradient"], "expected SECTION.FIELD=VALUE"),
        (["--vary", "quantiser.gradient=rotation"], "section 'quantiser' is unknown; did you mean 'quantizer'"),
        (["--vary", "quantizer.gradiant=rotation"], "'gradiant' is unknown; did you mean 'gradient'.*num_codewords"),
        (["--vary", "quantizer.gradient=sideways"], "'sideways'; choose one of 'straight_through'"),
        (["--vary", "quantizer.structure=none"], "that model is all_to_all"),
        (["--vary", "data.split=fixed"], "data.split is the same for all"),
        (["--vary", "index.codes=all"], "index.codes is unknown; of the index it varies postings_per_code"),
        (["--vary", "index.postings_per_code=0"], "expected an integer of at least 1"),
        (["--vary", "loss.log_q=false", "--models", "two_tower"], "leaves out; add it"),
    ],
)
def test_a_wrong_flag_is_named_before_anything_is_done(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_the_extra_is_named_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"matplotlib.*not installed.*'dev'"):
        run(tmp_path / "out", "--models", "popularity")
    assert not (tmp_path / "out").exists()


def test_variations_are_lists_and_not_a_product():
    base = Config()
    variations = parse_variations(["quantizer.num_codewords=32,64", "index.postings_per_code=100"], base)
    planned = runs(["sparcode", "ease"], [0, 1], variations)
    assert [str(one) for one in planned[:3]] == ["ease", "sparcode, seed 0", "sparcode, seed 1"]
    assert [one.label("sparcode_sparse") for one in planned[3::2]] == [
        "sparcode_sparse[quantizer.num_codewords=32]",
        "sparcode_sparse[quantizer.num_codewords=64]",
        "sparcode_sparse[index.postings_per_code=100]",
    ]
    assert [one.config(base).quantizer.num_codewords for one in planned[1::2]] == [256, 32, 64, 256]
    assert [one.config(base).training.seed for one in planned[1:3]] == [0, 1]
    assert len({one.directory for one in planned}) == len(planned)


def test_the_ceiling_has_the_vectors_of_the_model_as_tokens():
    base = from_mapping({"quantizer": {"num_query_tokens": 8, "num_vectors": 2}}, "test")
    quantizer = Run("all_to_all", 0).config(base).quantizer
    assert (quantizer.structure, quantizer.num_query_tokens) == ("none", 2)


def test_no_directory_of_a_run_is_a_pattern():
    variation = Variation("quantizer", "gradient", "rotation")
    assert re.fullmatch(r"[\w.=-]+", Run("sparcode", 0, variation).directory)


# --- Side by side --------------------------------------------------------------------------------


def test_processes_have_their_share_of_the_cores_and_pass_errors_on(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    with pytest.raises(UserError, match="as told"):
        workers.run_all(report_threads, [(str(tmp_path), name, os.getpid()) for name in ("works", "fails")], 2)
    threads = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert threads == dict.fromkeys(("works", "fails"), "True ('3', 3)")
    assert os.environ["OMP_NUM_THREADS"] == "5"
