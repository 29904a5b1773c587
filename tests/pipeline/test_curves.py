"""Curves of a small model: what is measured, what is written, and what is refused."""

import csv
import json
import pathlib
import re

import numpy as np
import pytest

from pipeline.curves.__main__ import main
from pipeline.curves.measure import Point, Size
from pipeline.curves.report import bits_rows
from pipeline.steps import build_index
from protos.errors import UserError
from trainer.config import from_mapping
from trainer.data import load
from trainer.data.splits import split
from trainer.evaluation import evaluate
from trainer.model import SparCode
from trainer.ranking import ModelRanker
from trainer.task import export_trained, train

SMALL = "synthetic:users=80,items=120,interactions=3000,seed=1"
CONFIG = {
    "training": {"epochs": 2, "validate_every": 1, "batch_events": 400},
    "quantizer": {"warmup_epochs": 1, "num_codewords": 8},
    "tokenizer": {"dim": 16},
}
SUMS = ("sparse", "completed", "rescored")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An export, and what the model itself reaches on validation."""
    directory = tmp_path_factory.mktemp("trained")
    parts = split(load(SMALL))
    found = train(parts, from_mapping(CONFIG, "test"), directory / "model", SparCode)
    export = export_trained(found, parts, directory / "export")
    return export, evaluate(ModelRanker(found.model), parts.queries("validation")).means()


@pytest.fixture(scope="module")
def output(trained, tmp_path_factory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("curves")
    sizes = ["--postings_per_code", "500", "--score_bits=32,8"]
    main(["--model", str(trained[0]), "--data", SMALL, "--output", str(directory), *sizes])
    return directory


def rows_of(output: pathlib.Path) -> list[dict]:
    return json.loads((output / "curves.json").read_text())["points"]


@pytest.mark.long
def test_every_size_is_served_in_every_way_with_the_bytes_of_its_files(trained, output, tmp_path):
    rows = rows_of(output)
    assert [(row["postings_per_code"], row["score_bits"], row["sums"]) for row in rows] == [
        (500, bits, sums) for bits in (8, 32) for sums in SUMS
    ]
    build_index(trained[0], tmp_path / "index", ["--postings_per_code=500", "--score_bits=8"])
    lists, block = (
        sum(path.stat().st_size for path in (tmp_path / "index").glob(f"{kind}-*")) for kind in ("postings", "block")
    )
    assert [row["index_bytes"] for row in rows[:3]] == [lists, lists + block, lists]


@pytest.mark.long
def test_served_without_loss_it_is_the_model_itself(trained, output):
    whole = {row["sums"]: row for row in rows_of(output) if row["score_bits"] == 32}
    for metric in ("recall@50", "ndcg@50"):
        assert whole["sparse"][metric] == pytest.approx(trained[1][metric], abs=1e-3)
        assert whole["completed"][metric] == pytest.approx(trained[1][metric], rel=0.05)
        assert all(row[f"{metric}_error"] > 0 for row in rows_of(output))


@pytest.mark.long
def test_all_four_files_say_the_same(output):
    rows = rows_of(output)
    with (output / "curves.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{name: str(value) for name, value in row.items()} for row in rows]
    page = (output / "curves.md").read_text()
    for row in rows:
        size = f"{row['sums']} | {row['postings_per_code']} | {row['score_bits']} | {row['index_bytes'] / 1e6:.2f}"
        assert re.search(rf"\| {re.escape(size)} \| {row['recall@50']:.4f} ± .* \| {row['ndcg@50']:.4f} ± ", page)
    assert "python -m pipeline.curves --model" in page
    assert "80 validation queries" in page
    assert (output / "curves.png").read_bytes().startswith(b"\x89PNG")


def point(bits: int, values: list[float], sums: str = "sparse") -> Point:
    return Point(sums, Size(30, bits), 100, 100 * bits // 8 + 200, 0, {"ndcg@50": np.array(values)})


def test_losses_are_of_pairs_in_percent_of_lists_of_floats():
    points = [point(bits, values, sums) for sums in SUMS for bits, values in ((8, [0.4, 0.4]), (32, [0.5, 0.3]))]
    eight, whole = bits_rows(points)
    assert (eight["bytes_a_posting"], whole["bytes_a_posting"]) == (3, 6)
    assert eight["sparse_loss_percent"] == pytest.approx(0)
    assert eight["sparse_loss_error"] == pytest.approx(25.0)  # differences 0.1 and -0.1, over 0.4
    alone = next(bits_rows([each for each in points if each.size.score_bits == 8]))
    assert alone["completed_loss_percent"] is None


@pytest.mark.long
def test_data_of_another_model_are_refused(trained, tmp_path):
    with pytest.raises(UserError, match=r"has a catalogue of \d+ items, the training part of --data \d+, and they"):
        main(["--model", str(trained[0]), "--data", f"{SMALL}5", "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--postings_per_code", "30,x"], r"--postings_per_code '30,x': expected integers of at least 1"),
        (["--postings_per_code", "0"], r"--postings_per_code '0': expected integers"),
        (["--score_bits", "8,12"], r"--score_bits '8,12': expected some of 8, 16, 32"),
    ],
)
def test_wrong_lists_are_named(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        main(["--model", str(tmp_path), "--data", SMALL, "--output", str(tmp_path / "out"), *flags])
