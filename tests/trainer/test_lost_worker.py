"""Real processes, one of them killed: the other says so and ends, and all started again go on to the same weights."""

from __future__ import annotations

import os
import pathlib
import signal
import time

import pytest
import tensorflow as tf

from protos.artifact import read_manifest
from protos.errors import Exit, UserError
from tests.support import workers
from tests.trainer.test_replicas import assert_same_checkpoint
from trainer import task
from trainer.export import FORMAT

SECONDS = 240
FLAGS = [
    *("--data", "synthetic:users=40,items=50,interactions=900,seed=1", "--data.max_history", "10"),
    *("--tokenizer.dim", "8", "--tokenizer.dropout", "0", "--tokenizer.event_dropout", "0", "--memory.num_events", "0"),
    *("--quantizer.num_codewords", "4", "--quantizer.warmup_epochs", "1", "--training.num_members", "1"),
    *("--quantizer.revive_fraction", "0.9", "--quantizer.train_encoder", "true"),
    *("--training.epochs", "3", "--training.batch_events", "200", "--training.checkpoint_steps", "2"),
    *("--training.validate_every", "1"),
]


def steps_in(job_dir: pathlib.Path) -> int:
    """The step of the newest checkpoint; 0 while there is none."""
    latest = tf.train.latest_checkpoint(str(job_dir / "checkpoints"))
    return 0 if latest is None else int(latest.rsplit("-", 1)[1])


@pytest.mark.long
def test_a_killed_worker_ends_the_others_and_all_go_on_together(tmp_path):
    command = ["trainer.task", "--strategy", "multi_worker", "--job-dir", str(tmp_path / "run"), *FLAGS]
    with workers.cluster(command, tmp_path / "first", worker=2) as processes:
        survivor, victim = processes["worker"]
        deadline = time.monotonic() + SECONDS
        while not steps_in(tmp_path / "run"):
            assert survivor.poll() is None, (tmp_path / "first" / "worker-0.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(victim.pid, signal.SIGKILL)
        assert survivor.wait(60) == Exit.START_AGAIN
    said = (tmp_path / "first" / "worker-0.log").read_text()
    assert "error: another process of this run is lost" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "export").exists()
    reached = steps_in(tmp_path / "run")
    assert reached > 0

    with workers.cluster(command, tmp_path / "again", worker=2) as processes:
        for index, process in enumerate(processes["worker"]):
            assert process.wait(SECONDS) == 0, (tmp_path / "again" / f"worker-{index}.log").read_text()
    assert steps_in(tmp_path / "run") > reached
    read_manifest(tmp_path / "run" / "export", FORMAT)
    task.main(["--job-dir", str(tmp_path / "unbroken"), *FLAGS])
    for phase in (".", "warm_up", "best"):
        assert_same_checkpoint(*(tmp_path / run / "checkpoints" / phase for run in ("run", "unbroken")))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(None, "TF_CONFIG is not set", id="missing"),
        pytest.param("{", "TF_CONFIG is '{'", id="no JSON"),
        pytest.param('{"cluster": {"worker": ["a:1"]}}', "KeyError", id="no task"),
        pytest.param('{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}', "ps has no part", id="a ps"),
        pytest.param('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "no worker 1", id="1"),
        pytest.param('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}', "no list", id="text"),
        pytest.param('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}', "no list", id="no port"),
        pytest.param(
            '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
            "several processes are at a:1",
            id="one address",
        ),
    ],
)
def test_a_task_that_cannot_be_is_told(value, said, tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(UserError, match=said):
        task.main(["--strategy", "multi_worker", "--job-dir", str(tmp_path / "run"), *FLAGS])
    assert not (tmp_path / "run").exists()


def test_parameter_servers_need_a_chief_and_parts_of_a_row(tmp_path, monkeypatch):
    monkeypatch.setenv(
        "TF_CONFIG", '{"cluster": {"worker": ["a:1"], "ps": ["a:2"]}, "task": {"type": "worker", "index": 0}}'
    )
    flags = ["--strategy", "parameter_server", "--job-dir", str(tmp_path), *FLAGS]
    with pytest.raises(UserError, match="the cluster has no chief"):
        task.main(flags)
    with pytest.raises(UserError, match="--rows-a-part is 0"):
        task.main([*flags, "--rows-a-part", "0"])


def test_devices_that_are_not_here_are_told(tmp_path):
    with pytest.raises(UserError, match="--devices names 'GPU:7', which is not here; there are CPU:0"):
        task.main(["--strategy", "mirrored", "--devices", "GPU:7", "--job-dir", str(tmp_path), *FLAGS])
    with pytest.raises(UserError, match="--devices is of --strategy mirrored"):
        task.main(["--devices", "CPU:0", "--job-dir", str(tmp_path), *FLAGS])
