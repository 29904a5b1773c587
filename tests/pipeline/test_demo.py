"""The whole path on a small set: interactions in, gRPC answers and metrics out."""

import json

import pytest

from pipeline import demo
from protos.errors import UserError

SMALL = "synthetic:users=120,items=200,interactions=5000,seed=3"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo")
    demo.main(["--data", SMALL, "--quick", "--training.epochs", "4", "--output", str(directory)])
    return directory


@pytest.mark.long
def test_metrics_hold_every_figure(output):
    metrics = json.loads((output / "metrics.json").read_text())
    assert set(metrics["rows"]) == set(demo.TABLE)
    for row in metrics["rows"].values():
        assert set(row) == {"recall@50", "ndcg@50", "hr@10"}
        assert all(0 < value <= 1 for value in row.values())
    assert metrics["data"].startswith("synthetic")
    assert metrics["codes"] == 4 * 32
    assert metrics["index_bytes"] > metrics["postings"] > 0
    assert metrics["unknown_code_rate"] == 0  # every code of a residual quantizer has a list
    assert metrics["p50_ms"] > 0
    assert "train SparCode" in metrics["seconds"]


@pytest.mark.long
def test_serving_what_was_trained_costs_no_accuracy(output):
    rows = json.loads((output / "metrics.json").read_text())["rows"]
    # Lists of 1,000 hold the whole catalogue here: only the 8 bits of the block are between the two.
    assert rows["sparcode_served"]["ndcg@50"] == pytest.approx(rows["sparcode"]["ndcg@50"], rel=0.03)


@pytest.mark.long
def test_the_artifacts_of_each_room_are_there(output):
    for name in ("sparcode/export", "index"):
        assert (output / name / "manifest.json").is_file()
    for sums in ("completed", "sparse"):
        assert (output / "servable" / sums / "1" / "saved_model.pb").is_file()


def test_data_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        demo.main(["--data", str(tmp_path / "nowhere"), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
