"""A search: it goes on where it was killed, looks at no test event, and leaves the best configuration as a preset."""

from __future__ import annotations

import csv
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from protos.errors import UserError
from tests.support.models import small_config, small_model
from trainer import config as configuration
from trainer.model import SparCode
from trainer.tune.__main__ import main
from trainer.tune.results import ranked
from trainer.tune.store import Store
from trainer.tune.trial import PRUNER, Pruning, data
from trainer.two_tower import TwoTower

ROOT = pathlib.Path(__file__).parents[2]
SPACE = """\
training.learning_rate: {low: 0.001, high: 0.05, log: true}
tokenizer.num_heads: {choices: [1, 3]}
tokenizer.dim: {choices: [8, 12]}
"""
BASE = {
    "tokenizer.dim": 8,
    "tokenizer.num_heads": 1,
    "data.max_history": 10,
    "training.epochs": 3,
    "training.validate_every": 1,
    "training.batch_events": 100,
    "training.learning_rate": 0.01,
}
TRIALS = 5  # the sampler's third is three heads on eight dimensions, which do not go together


def write_log(path: pathlib.Path, last: int) -> None:
    """`user item` lines of 40 users who walk round 30 items; `last` shifts the last tenth, which is for the test."""
    path.parent.mkdir()
    rng, lines = np.random.default_rng(0), []
    for user in range(40):
        start = rng.integers(0, 30)
        walk = [(start + step) % 30 for step in range(12)]
        lines += [f"{user} {item}\n" for item in (*walk[:-1], (walk[-1] + last) % 30)]
    path.write_text("".join(lines))


def flags(source: pathlib.Path, output: pathlib.Path, *more: str, **fields) -> list[str]:
    space = output.parent / "space.yaml"
    space.write_text(SPACE)
    overrides = [f"--{name}={value}" for name, value in (BASE | fields).items()]
    common = ["--data", str(source), "--output", str(output), "--model", "two_tower", "--space", str(space)]
    return [*common, "--trials", str(TRIALS), *overrides, *more]


def rows(output: pathlib.Path) -> list[dict[str, str]]:
    with (output / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tune")
    write_log(directory / "data" / "log.txt", last=0)
    write_log(directory / "other" / "log.txt", last=7)
    return directory


@pytest.fixture(scope="module")
def searched(place):
    """A finished search, with two seeds of the best."""
    main(flags(place / "data" / "log.txt", place / "unbroken", "--seeds", "2"))
    return place / "unbroken"


def test_every_trial_is_in_the_table(searched):
    found = rows(searched)
    assert [row["trial"] for row in found] == [str(number) for number in range(TRIALS)]
    start = {name: float(found[0][name]) for name in ("training.learning_rate", "tokenizer.dim", "tokenizer.num_heads")}
    assert start == {name: BASE[name] for name in start}
    refused = [row["state"] == "refused" for row in found]
    assert refused == [(row["tokenizer.dim"], row["tokenizer.num_heads"]) == ("8", "3") for row in found]
    assert 1 <= sum(refused) < TRIALS - 1
    for row in found:
        assert row["state"] in ("complete", "refused")
        assert bool(row["ndcg@50"]) == (row["state"] == "complete")
        assert ("does not divide" in row["reason"]) == (row["state"] == "refused")
    assert sum(row["seeds"] == "2" for row in found) == min(3, refused.count(False))


def test_the_best_is_a_preset_and_its_run_is_kept(searched):
    with sqlite3.connect(searched / "search.db") as database:
        again = dict(database.execute("SELECT key, CAST(value_json AS REAL) FROM study_user_attributes"))
    means = {
        int(row["trial"]): np.mean([float(row["ndcg@50"]), again[f"trial {row['trial']} with seed 1"]])
        for row in rows(searched)
        if row["seeds"] == "2"
    }
    best = max(means, key=means.get)
    preset = configuration.load(str(searched / "best.yaml"))
    assert preset == configuration.load(str(searched / "trials" / f"{best:04}" / "config.yaml"))
    assert f"trial {best}, the best" in (searched / "best.yaml").read_text().splitlines()[0]
    kept = {int(path.parent.name) for path in (searched / "trials").glob("*/checkpoints")}
    assert kept == set(means)
    assert all(
        path.is_dir() for path in (searched / "trials" / f"{best:04}" / name for name in ("logs", "checkpoints"))
    )


def test_test_events_are_not_even_in_memory(place):
    parts, other = (data(str(place / name / "log.txt"), "chronological").parts for name in ("data", "other"))
    assert parts.test == other.test == []
    for left, right in zip((*parts.train, *parts.validation), (*other.train, *other.validation), strict=True):
        np.testing.assert_array_equal(left, right)
    assert (place / "data" / "log.txt").read_text() != (place / "other" / "log.txt").read_text()


@pytest.mark.long
def test_a_killed_search_goes_on_and_other_test_events_change_nothing(place, searched):
    """Killed while two processes train, on data whose test events differ; then it goes on in one process."""
    output = place / "killed"
    arguments = flags(place / "other" / "log.txt", output, "--seeds", "2")
    process = subprocess.Popen([sys.executable, "-m", "trainer.tune", *arguments, "--jobs", "2"], cwd=ROOT)
    deadline = time.monotonic() + 240
    while len(list((output / "trials").glob("*/checkpoints/ckpt-*.index"))) < 1:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while any(pathlib.Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "processes outlive the search"
        time.sleep(0.05)
    study = Store(output).study(PRUNER)
    assert any(trial.state == TrialState.RUNNING for trial in study.trials)
    main(arguments)
    assert [timeless(row) for row in rows(output)] == [timeless(row) for row in rows(searched)]
    assert (output / "best.yaml").read_text().replace("/other/", "/data/") == (searched / "best.yaml").read_text()


def timeless(row: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name != "seconds"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fields": {"training.epochs": 4}}, r"training.epochs was 3, now is 4"),
        ({"source": "synthetic:users=40,items=50,interactions=900,seed=1"}, r"data was .*, now is "),
        ({"more": ("--model", "sparcode")}, r'model was "two_tower", now is "sparcode"'),
    ],
)
def test_another_search_in_the_same_directory_is_refused(change, named, place, searched):
    before = (searched / "search.json").read_bytes()
    source = change.get("source", place / "data" / "log.txt")
    with pytest.raises(UserError, match=rf"holds another search: .*{named}"):
        main(flags(source, searched, *change.get("more", ()), **change.get("fields", {})))
    assert (searched / "search.json").read_bytes() == before


def test_another_space_in_the_same_directory_is_refused(place, searched, tmp_path):
    shutil.copytree(searched, tmp_path / "copy")
    arguments = flags(place / "data" / "log.txt", tmp_path / "copy")
    (tmp_path / "space.yaml").write_text(SPACE.replace("0.05", "0.06"))
    with pytest.raises(UserError, match=r"space of training.learning_rate was .*0.05.*, now is .*0.06"):
        main(arguments)


def test_a_dry_run_says_what_is_left_and_writes_nothing(place, searched, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in searched.rglob("*")}
    main(flags(place / "data" / "log.txt", searched, "--dry-run", "--trials", "9"))
    assert f"would make {9 - TRIALS} trials of two_tower ({TRIALS} of 9 are done)" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in searched.rglob("*")} == before
    main(flags(place / "data" / "log.txt", tmp_path / "new", "--dry-run"))
    assert "would make 5 trials" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


def test_where_every_trial_fails_the_search_ends_and_says_why(place, tmp_path):
    arguments = flags(place / "data" / "log.txt", tmp_path / "search")
    (tmp_path / "space.yaml").write_text("training.warm_start: {choices: [nowhere, neither]}\n")
    with pytest.raises(UserError, match=r"the first 3 trials all failed, the last one with: training.warm_start n"):
        main(arguments)
    assert [row["state"] for row in rows(tmp_path / "search")] == ["failed"] * 3


def test_the_same_command_after_the_end_trains_nothing_and_gives_the_preset_a_name(
    place, searched, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("trainer.tune.__main__.PRESETS", tmp_path)
    before = [path.stat().st_mtime_ns for path in (searched / "trials").rglob("*")]
    for _ in range(2):  # what a search has written, a search may write again
        main(flags(place / "data" / "log.txt", searched, "--seeds", "2", "--preset-name", "found"))
    assert "--config found" in capsys.readouterr().out
    assert (tmp_path / "found.yaml").read_text() == (searched / "best.yaml").read_text()
    assert [path.stat().st_mtime_ns for path in (searched / "trials").rglob("*")] == before


def test_flags_that_cannot_be_are_named(place, tmp_path):
    source = place / "data" / "log.txt"
    for more, named in (
        (("--jobs", "0"), "--jobs is 0; expected at least 1"),
        (("--hours", "0"), "--hours is 0; expected more than 0"),
        (("--preset-name", "default"), "--preset-name default: there is a preset of that name"),
        (("--preset-name", "../x"), "expected letters, digits"),
    ):
        with pytest.raises(UserError, match=named):
            main(flags(source, tmp_path / "search", *more))
    assert not (tmp_path / "search").exists()


def study_with(tmp_path: pathlib.Path, curves: list[list[float]]) -> tuple[optuna.Study, int]:
    """A study of trials that went these ways, one value an epoch, and a trial that is under way."""
    study = Store(tmp_path).study(PRUNER)
    for curve in curves:
        values = dict(enumerate(curve, start=1))
        study.add_trial(create_trial(state=TrialState.COMPLETE, value=max(curve), intermediate_values=values))
    return study, study.ask()._trial_id


def epochs_until_pruned(callback: Pruning, curve: list[float]) -> int | None:
    for epoch, score in enumerate(curve):
        try:
            callback.on_epoch_end(epoch, {"val_ndcg@50": score})
        except optuna.TrialPruned:
            return epoch + 1
    return None


@pytest.mark.parametrize(
    ("curve", "pruned"),
    [([0.05] * 8, 4), ([0.5] * 8, None), ([0.05, 0.05, 0.5, 0.05, 0.05, 0.05], None)],
    ids=["hopeless", "good", "was good before"],
)
def test_a_trial_below_most_others_is_ended_after_the_first_epochs(curve, pruned, tmp_path):
    _, trial = study_with(tmp_path, [[0.1 * rank] * 8 for rank in range(1, 7)])
    callback = Pruning(tmp_path, trial)
    callback.set_model(small_model(small_config(), TwoTower))
    assert epochs_until_pruned(callback, curve) == pruned


@pytest.mark.parametrize("active", [False, True])
def test_epochs_with_codes_are_compared_with_none(active, tmp_path):
    study, trial = study_with(tmp_path, [[0.5] * 8] * 6)
    callback = Pruning(tmp_path, trial)
    callback.set_model(small_model(small_config(), SparCode, active=active))
    assert epochs_until_pruned(callback, [0.01] * 8) == (None if active else 4)
    assert len(study.trials[-1].intermediate_values) == (0 if active else 4)


def test_finalists_are_compared_by_as_many_seeds_as_all_of_them_have():
    study = optuna.create_study(direction="maximize")
    for score in (0.30, 0.31, 0.29, 0.2):
        study.add_trial(create_trial(value=score))
    for seed, score in ((1, 0.34), (2, 0.1)):
        study.set_user_attr(f"trial 0 with seed {seed}", score)
    assert [trial.number for trial in ranked(study)] == [1, 0, 2, 3]  # by their own seeds
    for number in (1, 2):
        study.set_user_attr(f"trial {number} with seed 1", 0.3)
    assert [trial.number for trial in ranked(study)] == [0, 1, 2, 3]  # 0.32, 0.305, 0.295
