"""The loop: a killed run goes on to the same weights; it stops early; the best weights are the ones kept."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from protos.errors import UserError
from tests.support.models import MEMORY, small_config, walks_split
from trainer import task
from trainer.data.splits import Split
from trainer.evaluation import evaluate
from trainer.model import SparCode
from trainer.ranking import ModelRanker
from trainer.two_tower import TwoTower

KINDS = pytest.mark.parametrize("kind", [SparCode, TwoTower])


class KilledError(Exception):
    """Stands for the signal that ends a run."""


class KillIn(tf.keras.callbacks.Callback):
    """Ends a run after the first steps of an epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self.last, self.epoch = epoch, 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.epoch == self.last and batch == 2:
            raise KilledError


def weights(model) -> list[np.ndarray]:
    return [variable.numpy() for variable in model.variables]


def assert_equal_weights(left, right) -> None:
    for one, other in zip(weights(left), weights(right), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("kind", "warm_up", "every", "steps", "killed_in"),
    [
        pytest.param(SparCode, 2, 1, 0, 1, id="in the warm-up"),
        pytest.param(SparCode, 2, 1, 2, 2, id="after the codes started, within an epoch"),
        pytest.param(
            SparCode, 2, 2, 0, 3, id="where the last checkpoint is of the warm-up and the best weights are not"
        ),
        pytest.param(TwoTower, 2, 1, 2, 2, id="two-tower, within an epoch"),
    ],
)
def test_a_killed_run_resumes_to_the_weights_of_an_unbroken_one(
    kind, warm_up, every, steps, killed_in, tmp_path, monkeypatch
):
    split = walks_split()
    config = small_config(
        memory=MEMORY,
        quantizer={"warmup_epochs": warm_up},
        training={"checkpoint_every": every, "checkpoint_steps": steps, "patience": 9},
    )
    unbroken = task.train(split, config, tmp_path / "unbroken", kind)
    original = tf.keras.Model.fit

    def fit_until_killed(self, *arguments, **named):
        return original(self, *arguments, **{**named, "callbacks": [*named["callbacks"], KillIn(killed_in)]})

    monkeypatch.setattr(tf.keras.Model, "fit", fit_until_killed)
    with pytest.raises(KilledError):
        task.train(split, config, tmp_path / "killed", kind)
    monkeypatch.undo()
    whole, left = (newest_step(tmp_path / run) for run in ("unbroken", "killed"))
    assert bool(left % (whole // config.training.epochs)) == bool(steps)  # within an epoch or at the end of one
    resumed = task.train(split, config, tmp_path / "killed", kind)
    assert (resumed.results, resumed.score) == (unbroken.results, unbroken.score)
    assert_equal_weights(unbroken.model, resumed.model)
    windows = tf.constant([[3, 4, 5]])
    np.testing.assert_array_equal(unbroken.model.catalogue_scores(windows), resumed.model.catalogue_scores(windows))


def newest_step(job_dir: pathlib.Path) -> int:
    return int(tf.train.latest_checkpoint(str(job_dir / "checkpoints")).rsplit("-", 1)[1])


@pytest.mark.long
def test_a_process_killed_by_a_signal_resumes(tmp_path):
    command = [sys.executable, "-m", "trainer.task", "--data", "synthetic:users=60,items=80,interactions=2000,seed=1",
               "--training.epochs", "6", "--training.deterministic", "true", "--quantizer.num_codewords", "8",
               "--quantizer.warmup_epochs", "1", "--tokenizer.dim", "16", "--training.num_members", "2"]  # fmt: skip
    root = pathlib.Path(__file__).parents[2]
    for name, kill in (("unbroken", False), ("killed", True)):
        job = [*command, "--job-dir", str(tmp_path / name)]
        if kill:
            process = subprocess.Popen(job, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 200
            while not list((tmp_path / name / "member-0" / "checkpoints").glob("ckpt-*.index")):
                assert process.poll() is None, "ended before it could be killed"
                assert time.monotonic() < deadline
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert not (tmp_path / name / "export").exists()
        subprocess.run(job, cwd=root, check=True, stdout=subprocess.DEVNULL, timeout=300)
    for member in ("member-0", "member-1"):
        readers = [
            tf.train.load_checkpoint(tf.train.latest_checkpoint(str(tmp_path / name / member / "checkpoints" / "best")))
            for name in ("unbroken", "killed")
        ]
        names = [name for name in readers[0].get_variable_to_shape_map() if name.startswith("model/")]
        assert any("item_embeddings" in name for name in names)
        for name in names:
            np.testing.assert_array_equal(readers[0].get_tensor(name), readers[1].get_tensor(name))


def test_the_same_command_after_the_end_trains_no_further(tmp_path):
    config, split = small_config(), walks_split()
    first = task.train(split, config, tmp_path, SparCode)
    again = task.train(split, config, tmp_path, SparCode)
    assert again.results == first.results
    assert_equal_weights(first.model, again.model)


def test_another_configuration_in_the_same_directory_is_refused(tmp_path):
    split = walks_split()
    task.train(split, small_config(training={"epochs": 2}), tmp_path)
    with pytest.raises(UserError, match=r"config.yaml is of a run with another configuration"):
        task.train(split, small_config(training={"epochs": 3}), tmp_path)
    with pytest.raises(UserError, match=r"data.sha256 is of a run with another data"):
        task.train(walks_split(seed=1), small_config(training={"epochs": 2}), tmp_path)
    with pytest.raises(UserError, match=r"model.txt is of a run with another --model"):
        task.train(split, small_config(training={"epochs": 2}), tmp_path, TwoTower)


@KINDS
def test_it_learns_what_can_be_learned(kind, tmp_path):
    split = walks_split(users=150)
    config = small_config(
        tokenizer={"dim": 16},
        quantizer={"num_codewords": 32, "warmup_epochs": 8},
        memory=MEMORY,
        training={"epochs": 12, "patience": 12, "batch_events": 112, "learning_rate": 0.02, "warmup_steps": 5},
    )
    trained = task.train(split, config, tmp_path, kind)
    assert trained.score == pytest.approx(quality(trained.model, split, "validation")["ndcg@50"])
    trained.model.event_lists = None
    # The next item of 30 is one step ahead: chance is a hit rate of one third.
    assert quality(trained.model, split, "test")["hr@10"] > 0.9
    tokens_alone = quality(trained.model, split, "validation")["ndcg@50"]
    assert trained.results[0].best_score == pytest.approx(tokens_alone)
    assert trained.score >= tokens_alone


def quality(model, split: Split, part: str) -> dict[str, float]:
    return evaluate(ModelRanker(model), split.queries(part)).means()


def test_the_second_phase_leaves_the_encoder_of_the_first_as_it_is(tmp_path):
    config = small_config(quantizer={"warmup_epochs": 2}, training={"patience": 9})
    model = task.train(walks_split(), config, tmp_path).model
    assert int(model.step) > 0
    checkpoint = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(tmp_path / "checkpoints" / "warm_up")))
    names = checkpoint.get_variable_to_shape_map()
    held = [name for name in names if name.split("/")[:2] in (["model", "tokenizer"], ["model", "item_embeddings"])]
    best = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(tmp_path / "checkpoints" / "best")))
    assert len(held) > 5
    for name in held:
        np.testing.assert_array_equal(checkpoint.get_tensor(name), best.get_tensor(name), err_msg=name)
    scorer = [name for name in names if name.startswith("model/scorer/")]
    assert any((checkpoint.get_tensor(name) != best.get_tensor(name)).any() for name in scorer)


def logged_tags(directory: pathlib.Path) -> set[str]:
    (events,) = directory.glob("events*")
    return {value.tag for event in tf.compat.v1.train.summary_iterator(str(events)) for value in event.summary.value}


def test_training_stops_early_and_logs_for_tensorboard(tmp_path):
    config = small_config(training={"epochs": 40, "patience": 2, "learning_rate": 1e-12})
    trained = task.train(walks_split(), config, tmp_path)
    assert trained.results[0].epochs < 40
    tags = {part: logged_tags(tmp_path / "logs" / part) for part in ("train", "validation")}
    assert "epoch_ndcg@50" in tags["validation"]
    expected = {"epoch_loss", "epoch_zero_scores", "epoch_codes_in_use"}
    assert expected <= tags["train"]
    assert any(tag.startswith("epoch_perplexity/slot_0") for tag in tags["train"])


def test_users_too_short_to_validate_are_named(tmp_path):
    split = walks_split(users=3)
    empty = [np.zeros(0, np.int32)] * 3
    short = dataclasses.replace(split, validation=empty, test=empty)
    with pytest.raises(UserError, match="no user has the three events"):
        task.train(short, small_config(), tmp_path)
    assert not list(tmp_path.iterdir())  # the same directory will do once there are more events
