"""I6: two devices give what one gives on the joined batch; for two processes see test_lost_worker."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests.support import workers
from tests.trainer import replica_steps
from trainer.placement import Placement

COMMAND = "tests.trainer.replica_steps"
SECONDS = 240


def assert_as_alone(directory: pathlib.Path, copies: int) -> None:
    for case in replica_steps.CASES:
        expected = dict(replica_steps.steps(Placement(), case))
        found = np.load(directory / f"{case}.npz")
        assert len(found) == 1 + copies * (len(expected) - 1) > 20
        for name in found:
            of = name if name == "loss" else name.split()[0] + " 0"
            np.testing.assert_allclose(found[name], expected[of], rtol=1e-4, atol=1e-6, err_msg=f"{case}: {name}")


def assert_same_checkpoint(found: pathlib.Path, expected: pathlib.Path) -> None:
    ours, theirs = (tf.train.load_checkpoint(str(directory)) for directory in (found, expected))
    names = [name for name in theirs.get_variable_to_shape_map() if "_CHECKPOINTABLE_OBJECT_GRAPH" not in name]
    assert sum("item_embeddings" in name for name in names) >= 1
    for name in names:
        if theirs.get_tensor(name).dtype != object and "save_counter" not in name:
            np.testing.assert_allclose(
                ours.get_tensor(name), theirs.get_tensor(name), rtol=1e-3, atol=1e-4, err_msg=name
            )


@pytest.mark.long
def test_two_devices_are_as_one(tmp_path):
    flags = ["--strategy", "mirrored", "--devices", "CPU:0,CPU:1"]
    process = workers.start([COMMAND, str(tmp_path), *flags], tmp_path / "log")
    try:
        assert process.wait(SECONDS) == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        process.kill()
    assert_as_alone(tmp_path, copies=2)
    replica_steps.run(Placement(), tmp_path / "alone")
    for phase in (".", "warm_up", "best"):
        assert_same_checkpoint(*(tmp_path / run / "checkpoints" / phase for run in ("run", "alone")))
