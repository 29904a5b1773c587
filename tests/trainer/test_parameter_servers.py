"""Parameter servers as real processes: a worker is killed and comes back, and the others go on without a break."""

from __future__ import annotations

import os
import pathlib
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from protos.artifact import read_manifest
from tests.support import workers
from tests.support.models import random_windows
from tests.trainer.test_lost_worker import steps_in
from trainer import task
from trainer.export import FORMAT
from trainer.windows import WindowBatches

SECONDS = 240
FLAGS = [
    *("--data", "synthetic:users=40,items=60,interactions=900,seed=1", "--data.max_history", "10"),
    *("--tokenizer.dim", "8", "--memory.num_events", "0", "--training.num_members", "1"),
    *("--quantizer.num_codewords", "4", "--quantizer.warmup_epochs", "1", "--training.validate_every", "20"),
    *("--training.epochs", "80", "--training.patience", "80", "--training.batch_events", "200"),
]


def wait_until(happened: Callable[[], bool], chief, log: pathlib.Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert chief.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.long
def test_a_killed_worker_comes_back_and_nobody_else_starts_again(tmp_path):
    command = [
        "trainer.task",
        "--strategy",
        "parameter_server",
        "--rows-a-part",
        "20",
        "--job-dir",
        str(tmp_path / "run"),
    ]
    with workers.cluster([*command, *FLAGS], tmp_path / "logs", chief=1, worker=2, ps=2) as processes:
        (chief,), (steady, victim), servers = processes["chief"], processes["worker"], processes["ps"]
        log = tmp_path / "logs" / "chief-0.log"
        wait_until(lambda: steps_in(tmp_path / "run") > 0, chief, log)
        os.kill(victim.pid, signal.SIGKILL)
        reached = steps_in(tmp_path / "run")
        wait_until(lambda: steps_in(tmp_path / "run") > reached, chief, log)
        again = workers.start(command, tmp_path / "again.log", processes.tasks["worker"][1])
        try:
            # TensorFlow's words for a coordinator that has found this worker.
            wait_until(
                lambda: "Creating sync eager service context" in (tmp_path / "again.log").read_text(), chief, log
            )
            reached = steps_in(tmp_path / "run")
            wait_until(lambda: steps_in(tmp_path / "run") > reached, chief, log)
            os.kill(chief.pid, signal.SIGKILL)
            assert [each.wait(60) for each in (steady, again, *servers)] == [0] * 4
        finally:
            again.kill()
    checkpoint = tf.train.latest_checkpoint(str(tmp_path / "run" / "checkpoints"))
    assert steps_in(tmp_path / "run") < 80 * 4
    shapes = tf.train.load_checkpoint(checkpoint).get_variable_to_shape_map()
    assert shapes["model/item_embeddings/.ATTRIBUTES/VARIABLE_VALUE"][1] == 8
    task.main(["--job-dir", str(tmp_path / "run"), *FLAGS])  # the rest on one device
    read_manifest(tmp_path / "run" / "export", FORMAT)


@pytest.mark.parametrize("start", [0, 3])
def test_batches_in_a_graph_are_those_of_the_generator(start):
    batches = WindowBatches(random_windows(20), 30, seed=1)
    count = 2 * batches.steps - start
    in_graph = list(batches.in_graph(start, epochs=2).take(count + 1))
    for ours, theirs in zip(in_graph[:count], batches.dataset(start).take(count), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(in_graph[count], in_graph[0])
