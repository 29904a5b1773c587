"""Parameter servers as real processes: a worker is killed and comes back, and the others go on without a break."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.support import workers
from tests.support.models import random_windows
from tests.trainer.test_lost_worker import steps_in
from trainer import config as configuration
from trainer.checkpoints import Run
from trainer.data import load
from trainer.data.splits import split
from trainer.model import SparCode
from trainer.placement import Placement
from trainer.split_data import SplitData
from trainer.training import compile_model
from trainer.windows import WindowBatches

SECONDS = 240
DATA = "synthetic:users=40,items=60,interactions=900,seed=1"
FLAGS = [
    *("--data", DATA, "--data.max_history", "10"),
    *("--tokenizer.dim", "8", "--memory.num_events", "0", "--training.num_members", "1"),
    *("--quantizer.num_codewords", "4", "--quantizer.warmup_epochs", "1", "--training.validate_every", "20"),
    *("--training.epochs", "9999", "--training.patience", "9999", "--training.batch_events", "200"),
]


def wait_until(happened: Callable[[], bool], process: subprocess.Popen, log: pathlib.Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.long
def test_a_killed_worker_comes_back_and_nobody_else_starts_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")  # it is TensorFlow that tells of a worker that is found
    command = ["trainer.task", "--strategy", "parameter_server", "--rows-a-part", "20", *FLAGS]
    command += ["--job-dir", str(tmp_path / "run")]
    with workers.cluster(command, tmp_path / "logs", chief=1, worker=2, ps=2) as processes:
        (chief,), (steady, victim), servers = processes["chief"], processes["worker"], processes["ps"]
        log = tmp_path / "logs" / "chief-0.log"
        wait_until(lambda: steps_in(tmp_path / "run") > 0, chief, log)
        os.kill(victim.pid, signal.SIGKILL)
        reached = steps_in(tmp_path / "run")
        wait_until(lambda: steps_in(tmp_path / "run") > reached, chief, log)
        again = workers.start(command, tmp_path / "again.log", processes.tasks["worker"][1])
        try:
            found = "Creating sync eager service context"
            wait_until(lambda: found in (tmp_path / "again.log").read_text(), again, tmp_path / "again.log")
            reached = steps_in(tmp_path / "run")
            wait_until(lambda: steps_in(tmp_path / "run") > reached, chief, log)
            os.kill(chief.pid, signal.SIGKILL)
            assert [each.wait(60) for each in (steady, again, *servers)] == [0] * 4
        finally:
            again.kill()
    # What was in parts goes on in one piece.
    data = SplitData(split(load(DATA), "chronological"))
    model = SparCode(configuration.load(str(tmp_path / "run" / "config.yaml")), data.counts(), columns=data.columns())
    compile_model(model)
    started = model.item_embeddings.numpy()
    assert Run(model, tmp_path / "run", Placement()).resume()
    assert model.steps_done == steps_in(tmp_path / "run") > reached
    assert (model.item_embeddings.numpy() != started).any(axis=1).mean() > 0.9


@pytest.mark.parametrize("start", [0, 3])
def test_batches_in_a_graph_are_those_of_the_generator(start):
    batches = WindowBatches(random_windows(20), 30, seed=1)
    count = 2 * batches.steps - start
    in_graph = list(batches.in_graph(start, epochs=2).take(count + 1))
    for ours, theirs in zip(in_graph[:count], batches.dataset(start).take(count), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(in_graph[count], in_graph[0])
