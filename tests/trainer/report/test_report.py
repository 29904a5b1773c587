"""The report of a small run: what it says is so, and a real browser shows it without asking anybody for anything."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from protos.errors import UserError
from tests.support.browser import browser, requests, show_at
from tests.trainer.report.seen import TITLE, train
from trainer import config as configuration
from trainer.checkpoints import RunState
from trainer.data import load
from trainer.data.__main__ import main as prepare
from trainer.data.splits import split
from trainer.ranking import ModelRanker
from trainer.report.__main__ import main
from trainer.report.codes import usual_contributions
from trainer.report.run import Run, open_run
from trainer.report.samples import parts_of
from trainer.task import train as train_model

SECTIONS = ["data", "training", "accuracy", "codes", "lists", "index-size", "recommendations"]
WIDTHS = (1280, 390)


def report(job_dir: pathlib.Path, output: pathlib.Path, *flags: str) -> tuple[str, dict[str, Any]]:
    numbers = output.with_suffix(".json")
    main(["--job-dir", str(job_dir), "--output", str(output), "--json", str(numbers), *flags])
    return output.read_text(), json.loads(numbers.read_text())


@pytest.fixture(scope="module")
def made(job_dir: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, dict[str, Any]]:
    output = tmp_path_factory.mktemp("page") / "report.html"
    return output, report(job_dir, output)[1]


@pytest.fixture(scope="module")
def run(job_dir: pathlib.Path) -> Run:
    return open_run(job_dir, None, 2000)


def test_the_numbers_are_those_of_the_data(made, data) -> None:
    interactions = load(data)
    numbers = made[1]["data"]
    assert (numbers["users"], numbers["items"], numbers["events"]) == (60, 40, len(interactions))
    assert sum(numbers["split"].values()) == len(interactions)
    assert numbers["span"][0] >= "2020-09-13"
    assert numbers["source"] == str(data)


def test_curves_are_of_every_epoch_and_the_second_phase_begins_where_codes_do(made) -> None:
    (member,) = made[1]["training"]["members"]
    assert list(member["loss"]) == list(member["validation"]) == ["0", "1", "2", "3", "4"]
    assert member["codes_from"] == 2
    assert set(member["perplexity"]) == {"slot_0_book_0", "slot_1_book_0"}
    assert made[1]["training"]["final"]["ndcg@50"] > 0


def test_the_export_answers_as_the_model_that_was_trained(run: Run, job_dir, data) -> None:
    parts = split(load(data))
    model = train_model(parts, configuration.load(str(job_dir / "config.yaml")), job_dir).model
    histories = parts.queries("test").histories
    expected, found = ModelRanker(model)(histories, 20), run.ranker(histories, 20)
    assert (expected == found).mean() > 0.99  # scores that differ in the last bit may change places


def test_groups_add_up_to_the_whole(made) -> None:
    numbers = made[1]["accuracy"]
    assert sum(numbers["by"]["history length"]["counts"]) == numbers["queries"]
    assert sum(numbers["by"]["item age"]["counts"]) == sum(numbers["by"]["item popularity"]["counts"])
    by = numbers["by"]["history length"]
    whole = numbers["totals"]["model"]["recall@50"][0]
    means = [mean for mean, _ in by["recall@50"]["model"]]
    assert np.average(means, weights=by["counts"]) == pytest.approx(whole)


def test_longer_lists_take_more_bytes_and_with_whole_contributions_lose_little(made) -> None:
    numbers = made[1]["index-size"]
    assert {point["length"] for point in numbers["points"]} == {10, 30}
    completed = {point["length"]: point["recall@50"] for point in numbers["points"] if point["sums"] == "completed"}
    assert completed[30] == pytest.approx(numbers["exact"], abs=0.1)
    sizes = [point["bytes"] for point in numbers["points"] if point["sums"] == "sparse"]
    assert sizes == sorted(sizes)


def test_the_parts_of_an_answer_add_up_to_its_score(run: Run) -> None:
    exported, histories = run.exported, run.queries.histories
    encoded = exported.encode(histories)
    usual, rows = usual_contributions(exported, encoded), np.arange(exported.num_items)
    for query in range(5):
        parts = parts_of(exported, encoded, usual, query, rows, run.parts.catalogue.title)
        scores = exported.contributions(encoded.keys[query]).sum(axis=0)
        scores += exported.event_scores(encoded)[query]
        assert [sum(part.value for part in own) for own in parts] == pytest.approx(scores.tolist(), rel=1e-4)
    # The usual is the mean over queries of what their codes add.
    every = [exported.contributions(keys) for keys in encoded.keys]
    np.testing.assert_allclose(usual, np.mean(every, axis=0), rtol=1e-4)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_a_browser_shows_the_whole_page_and_it_asks_for_nothing(chromium, made, width: int, dark: bool) -> None:
    show_at(chromium, width, dark=dark)
    chromium.get(made[0].as_uri())
    assert chromium.title == "Training report"
    assert requests(chromium) == [made[0].as_uri()]
    assert chromium.get_log("browser") == []
    overflow = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    wide, there = chromium.execute_script(overflow)
    assert wide <= there <= width
    boxes = chromium.execute_script(_PICTURES)
    assert len(boxes) >= 10
    assert all(x >= 0 and w > 200 and h > 100 and x + w <= width for x, w, h in boxes)
    outside = chromium.execute_script(_OUTSIDE)
    assert outside == []
    ground = chromium.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) < 200) == dark


_PICTURES = """
return [...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect()).map(b => [b.x, b.width, b.height]);
"""
# Elements that reach out of the window, but for what can be scrolled to within its own box.
_OUTSIDE = """
return [...document.querySelectorAll('main *')]
  .filter(e => !e.closest('.scroll') && !e.closest('svg') && e.getBoundingClientRect().right > innerWidth + 0.5)
  .map(e => e.tagName + ' ' + e.textContent.slice(0, 40));
"""


def test_links_lead_to_sections_and_titles_stay_text(chromium, made) -> None:
    chromium.get(made[0].as_uri())
    anchors = chromium.execute_script(
        "return [...document.querySelectorAll('nav a')].map(a => [a.hash, !!document.querySelector(a.hash + ' h2')])"
    )
    assert anchors == [[f"#{name}", True] for name in SECTIONS]
    assert chromium.execute_script("return document.scripts.length") == 0
    shown = chromium.execute_script("return document.body.innerText")
    assert any(TITLE.format(row) in shown for row in range(40))
    assert chromium.title == "Training report"


def test_a_run_without_codes_times_and_titles_on_prepared_data_has_a_page(tmp_path) -> None:
    pairs, prepared = tmp_path / "pairs.txt", tmp_path / "prepared"
    lines = [f"u{user} i{(3 * user + step) % 20}" for user in range(30) for step in range(6)]
    pairs.write_text("\n".join(lines) + "\n")
    prepare(["prepare", "--data", str(pairs), "--output", str(prepared)])
    job_dir = train(prepared, tmp_path / "job", "two_tower", training__epochs=2)
    with pytest.raises(UserError, match=r"is of prepared data .*; give --data with the log"):
        report(job_dir, tmp_path / "report.html")
    page, numbers = report(job_dir, tmp_path / "report.html", "--data", str(pairs))
    assert list(numbers) == ["data", "training", "accuracy", "codes", "recommendations"]
    assert "has no codes" in page
    assert "no times" in page
    assert numbers["data"]["span"] is None
    assert "item age" not in numbers["accuracy"]["by"]
    assert numbers["recommendations"]["users"][0]["answers"][0]["title"].startswith("i")


def test_curves_that_were_measured_are_drawn(job_dir, tmp_path) -> None:
    point = {"sums": "sparse", "index_bytes": 1000, "postings_per_code": 10, "score_bits": 16, "recall@50": 0.5}
    wide = point | {"index_bytes": 2000, "recall@50": 0.6}
    other = point | {"score_bits": 8}
    (tmp_path / "curves.json").write_text(json.dumps({"points": [point, wide, other], "bits": []}))
    page, numbers = report(job_dir, tmp_path / "report.html", "--curves", str(tmp_path / "curves.json"))
    assert numbers["index-size"]["served"] == [point, wide]
    assert "As served" in page


def index_of(directory: pathlib.Path, fingerprint: str) -> pathlib.Path:
    """What a report reads of an index."""
    lists = {"count": 9, "quantiles": {"median": 4.0}, "histogram": [[0, 0, 2], [1, 5, 7]]}
    directory.mkdir()
    (directory / "quality.json").write_text(json.dumps({"code_lists": lists, "fidelity": 0.9}))
    (directory / "manifest.json").write_text(json.dumps({"model_fingerprint": fingerprint, "postings": 31}))
    return directory


def test_an_index_tells_how_long_its_lists_are(job_dir, tmp_path) -> None:
    fingerprint = json.loads((job_dir / "export" / "manifest.json").read_text())["fingerprint"]
    index = index_of(tmp_path / "index", fingerprint)
    _, numbers = report(job_dir, tmp_path / "report.html", "--index", str(index))
    assert numbers["lists"]["histogram"] == [["0", 2], ["1\N{EN DASH}5", 7]]
    assert numbers["lists"]["postings"] == 31


def unfinished(job_dir: pathlib.Path, directory: pathlib.Path) -> pathlib.Path:
    """A run like another one that was stopped before its end."""
    shutil.copytree(job_dir, directory, ignore=shutil.ignore_patterns("export", "checkpoints", "logs"))
    tf.train.Checkpoint(state=RunState()).save(str(directory / "checkpoints" / "ckpt"))
    return directory


def test_what_cannot_be_reported_is_named_before_any_work(job_dir, data, tmp_path) -> None:
    other = tmp_path / "pairs.txt"
    other.write_text("".join(f"u{user} i{step}\n" for user in range(3) for step in range(5)))
    not_exported = tmp_path / "not_exported"
    shutil.copytree(job_dir, not_exported, ignore=shutil.ignore_patterns("export"))
    cleared = tmp_path / "cleared"
    shutil.copytree(job_dir, cleared, ignore=shutil.ignore_patterns("export", "checkpoints"))
    forgetful = tmp_path / "forgetful"
    shutil.copytree(job_dir, forgetful, ignore=shutil.ignore_patterns("origin.json"))
    moved = shutil.copytree(job_dir, tmp_path / "moved")
    (moved / "origin.json").write_text(json.dumps({"model": "SparCode", "data": str(tmp_path / "gone.csv")}))
    changed = shutil.copytree(data, tmp_path / "changed")
    lines = (changed / "ratings.csv").read_bytes().split(b"\r\n")
    (changed / "ratings.csv").write_bytes(b"\r\n".join([*lines[:-3], lines[-2], b""]))
    stranger = index_of(tmp_path / "index", "another")
    broken = index_of(tmp_path / "broken", "another")
    (broken / "quality.json").write_text("{")
    (tmp_path / "curves.json").write_text("{}")
    for flags, message in (
        (["--job-dir", tmp_path], "has no config.yaml"),
        (["--job-dir", unfinished(job_dir, tmp_path / "unfinished")], "is not finished"),
        (["--job-dir", cleared], "has no checkpoints: nothing was trained there, or they were removed"),
        (["--job-dir", not_exported], "trained but not exported"),
        (["--job-dir", moved], r"gone.csv.* does not exist.*where the data has moved, --data says where"),
        (["--job-dir", forgetful], "does not remember its data"),
        (["--job-dir", job_dir, "--data", other], r"3 items in training, the run in .* 40"),
        (["--job-dir", job_dir, "--data", changed], "other events"),
        (["--job-dir", job_dir, "--index", tmp_path / "nothing"], "manifest.json does not exist"),
        (["--job-dir", job_dir, "--index", stranger], "was built from another model"),
        (["--job-dir", job_dir, "--index", broken], "quality.json is no valid JSON"),
        (["--job-dir", not_exported, "--index", stranger], "cannot be of this run: there is no export"),
        (["--job-dir", job_dir, "--curves", tmp_path / "curves.json"], "is no curves.json"),
        (["--job-dir", job_dir, "--queries", 0], "--queries is 0"),
        (["--job-dir", job_dir, "--output", tmp_path], "it is a directory"),
    ):
        output = [] if "--output" in flags else ["--output", tmp_path / "report.html"]
        with pytest.raises(UserError, match=message):
            main([str(flag) for flag in (*flags, *output)])
    assert not (tmp_path / "report.html").exists()
