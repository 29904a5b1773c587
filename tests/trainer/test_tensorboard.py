"""TensorBoard itself, asked over HTTP, shows what training wrote."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.models import MEMORY, NUM_ITEMS, small_config, walks_split
from trainer.data.splits import Split
from trainer.sequence_model import SequenceModel
from trainer.task import train
from trainer.tensorboard import PROJECTED_ITEMS, write_outcome
from trainer.two_tower import TwoTower

CONFIG = small_config(memory=MEMORY, training={"epochs": 3})
PROJECTOR, HPARAMS = "data/plugin/projector", "data/plugin/hparams"
_STARTED = re.compile(r"http://[^:]+:(\d+)/")


@pytest.fixture(scope="module")
def parts() -> Split:
    return walks_split()


@pytest.fixture(scope="module")
def logs(parts: Split, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Two job directories: SparCode, which ended twice, and a two-tower model of another rate."""
    directory = tmp_path_factory.mktemp("runs")
    for _ in range(2):
        train(parts, CONFIG, directory / "sparcode")
    train(parts, small_config(training={"epochs": 1, "learning_rate": 0.01}), directory / "two_tower", TwoTower)
    return directory


@pytest.fixture(scope="module")
def model(parts: Split, logs: pathlib.Path) -> SequenceModel:
    return train(parts, CONFIG, logs / "sparcode").model


@pytest.fixture(scope="module")
def address(logs: pathlib.Path) -> Iterator[str]:
    """A TensorBoard over both, which has read all of it."""
    flags = ["--logdir", str(logs), "--host", "127.0.0.1", "--port", "0", "--load_fast", "false"]
    command = [sys.executable, "-m", "tensorboard.main", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            found = next(filter(None, map(_STARTED.search, process.stderr)), None)
            assert found is not None, "TensorBoard ended before it listened"
            url = f"http://127.0.0.1:{found[1]}"
            wait_until_read(url)
            yield url
        finally:
            process.kill()


def wait_until_read(address: str) -> None:
    """TensorBoard listens before it has read the files."""
    deadline = time.monotonic() + 60
    while len(asked(address, "data/runs")) < 6:  # of both: logs, train, validation
        assert time.monotonic() < deadline, "TensorBoard does not find the runs"
        time.sleep(0.2)


def get(address: str, path: str, body: Any = None, **query: str) -> bytes:
    data = None if body is None else json.dumps(body).encode()
    url = f"{address}/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(
        urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=60
    ) as answer:
        return answer.read()


def asked(address: str, path: str, body: Any = None, **query: str) -> Any:
    return json.loads(get(address, path, body, **query))


def test_every_job_directory_is_a_run_with_its_scalars(address: str) -> None:
    tags = asked(address, "data/plugin/scalars/tags")
    assert "epoch_ndcg@50" in tags["sparcode/logs/validation"]
    assert "final/ndcg@50" in tags["sparcode/logs"]
    assert "final/ndcg@50" in tags["two_tower/logs"]
    points = asked(address, "data/plugin/scalars/scalars", run="sparcode/logs", tag="phase")
    assert [value for _, _, value in points] == [0, 1, 1]  # one epoch of warm-up
    dead = asked(address, "data/plugin/scalars/scalars", run="sparcode/logs", tag="dead_codes/slot_0_book_0")
    assert all(0 <= value < 1 for _, _, value in dead)


def test_the_use_of_codewords_is_a_histogram_that_holds_all_of_them(address: str) -> None:
    tags = asked(address, "data/plugin/histograms/tags")["sparcode/logs"]
    assert set(tags) == {f"code_counts/slot_{slot}_book_0" for slot in range(3)}
    run = {"run": "sparcode/logs", "tag": "code_counts/slot_0_book_0"}
    histograms = asked(address, "data/plugin/histograms/histograms", **run)
    assert [step for _, step, _ in histograms] == [1, 2]
    for _, _, buckets in histograms:
        assert sum(count for _, _, count in buckets) == CONFIG.quantizer.num_codewords


def test_the_projector_has_items_with_titles_and_codewords(address: str, model: SequenceModel, parts: Split) -> None:
    assert set(asked(address, f"{PROJECTOR}/runs")) == {"sparcode/logs", "two_tower/logs"}
    info = asked(address, f"{PROJECTOR}/info", run="sparcode/logs")
    shapes = {each["tensorName"]: each["tensorShape"] for each in info["embeddings"]}
    codewords = model.quantizer.codebooks.numpy()
    assert shapes == {"items": [NUM_ITEMS, 8], "codewords": [codewords.size // 8, 8]}

    def tensor(name: str) -> np.ndarray:
        read = get(address, f"{PROJECTOR}/tensor", run="sparcode/logs", name=name)
        return np.frombuffer(read, np.float32).reshape(-1, 8)

    def lines(name: str) -> list[list[str]]:
        read = get(address, f"{PROJECTOR}/metadata", run="sparcode/logs", name=name).decode()
        return [line.split("\t") for line in read.splitlines()]

    np.testing.assert_allclose(tensor("items"), model.item_vectors(np.arange(NUM_ITEMS)).numpy(), rtol=1e-5)
    np.testing.assert_allclose(tensor("codewords"), codewords.reshape(-1, 8), rtol=1e-5)
    head, *rows = lines("items")
    assert head[:2] == ["title", "id"]
    assert [row[:2] for row in rows] == [[f"Film {row}", f"item-{row}"] for row in range(NUM_ITEMS)]
    counts = np.bincount(np.concatenate(parts.train), minlength=NUM_ITEMS)
    assert [int(row[2]) for row in rows] == counts.tolist()
    assert [row[0] for row in lines("codewords")[1:]][4] == "slot 1 book 0 code 0"
    assert [row[0] for row in lines("codewords")[1:]][-1] == "slot 2 book 0 code 3"


def test_hyperparameters_of_job_directories_compare(address: str) -> None:
    experiment = asked(address, f"{HPARAMS}/experiment", body={"experimentName": ""})
    names = {info["name"] for info in experiment["hparamInfos"]}
    assert {"model", "training.learning_rate", "quantizer.structure", "scorer.inner_product"} <= names
    wanted = {"experimentName": "", "allowedStatuses": ["STATUS_UNKNOWN"], "startIndex": 0, "sliceSize": 10}
    columns = {"colParams": [{"metric": {"tag": "final/ndcg@50", "group": ""}}], **wanted}
    groups = asked(address, f"{HPARAMS}/session_groups", body=columns)["sessionGroups"]
    found = {group["hparams"]["model"]: group for group in groups}
    assert set(found) == {"SparCode", "TwoTower"}
    assert found["TwoTower"]["hparams"]["training.learning_rate"] == 0.01
    for group in groups:
        finals = [each["value"] for each in group["metricValues"] if each["name"]["tag"] == "final/ndcg@50"]
        assert len(finals) == 1
        assert 0 < finals[0] <= 1


def test_an_outcome_that_is_written_again_replaces_the_first(logs: pathlib.Path) -> None:
    assert len(list((logs / "sparcode" / "logs").glob("*.final"))) == 1


def test_only_the_most_frequent_items_are_projected_and_a_title_is_one_cell(
    model: SequenceModel, parts: Split, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PROJECTED_ITEMS >= NUM_ITEMS
    monkeypatch.setattr("trainer.tensorboard.PROJECTED_ITEMS", 3)
    counts = np.arange(NUM_ITEMS)
    counts[5] = 100
    titles = ("two\tcells\n and lines",) * NUM_ITEMS
    catalogue = type(parts.catalogue)(parts.catalogue.item_id, titles, parts.catalogue.genres)
    write_outcome(tmp_path, model, catalogue, counts, {})
    rows = [line.split("\t") for line in (tmp_path / "items.tsv").read_text().splitlines()[1:]]
    assert [row[0] for row in rows] == ["two cells and lines"] * 3
    assert [row[1] for row in rows] == ["item-5", f"item-{NUM_ITEMS - 2}", f"item-{NUM_ITEMS - 1}"]
