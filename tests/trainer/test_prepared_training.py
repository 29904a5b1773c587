"""Training that streams goes on where it was killed, in the middle of an epoch and of a pass."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from protos.errors import UserError
from tests.support.models import small_config
from tests.trainer.test_training import KilledError, KillIn
from trainer import task
from trainer.data.prepare.options import PrepareOptions
from trainer.data.prepare.prepare import prepare
from trainer.prepared_data import PreparedData, damage_named
from trainer.two_tower import TwoTower

SOURCE = "synthetic:users=60,items=40,interactions=900,seed=4"


def last_weights(job_dir: pathlib.Path) -> dict[str, np.ndarray]:
    """Of the newest checkpoint: after the last step, whichever epoch was the best."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(job_dir / "checkpoints")))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if name.startswith("model/")}


def test_a_killed_run_on_prepared_data_ends_as_an_unbroken_one(tmp_path, monkeypatch):
    data = PreparedData(prepare(PrepareOptions(SOURCE, tmp_path / "prepared", num_shards=3)))
    training = {"epochs": 3, "steps_per_epoch": 5, "checkpoint_steps": 2, "patience": 9}
    config = small_config(training=training)
    assert data.batches(config).steps not in (5, 10, 15)  # epochs and passes do not end together
    unbroken = task.train(data, config, tmp_path / "unbroken", TwoTower)
    original = tf.keras.Model.fit

    def fit_until_killed(self, *arguments, **named):
        return original(self, *arguments, **{**named, "callbacks": [*named["callbacks"], KillIn(1)]})

    monkeypatch.setattr(tf.keras.Model, "fit", fit_until_killed)
    with pytest.raises(KilledError):
        task.train(data, config, tmp_path / "killed", TwoTower)
    monkeypatch.undo()
    assert last_weights(tmp_path / "killed")["model/step/.ATTRIBUTES/VARIABLE_VALUE"] == 8  # in the second epoch
    resumed = task.train(data, config, tmp_path / "killed", TwoTower)
    assert (resumed.results, resumed.score) == (unbroken.results, unbroken.score)
    ends = [last_weights(tmp_path / run) for run in ("unbroken", "killed")]
    assert ends[0]["model/step/.ATTRIBUTES/VARIABLE_VALUE"] == 15
    assert ends[0].keys() == ends[1].keys()
    for name, value in ends[0].items():
        np.testing.assert_array_equal(value, ends[1][name], err_msg=name)


def test_a_damaged_shard_is_named_and_what_else_is_damaged_is_not_taken_for_one(tmp_path):
    data = PreparedData(prepare(PrepareOptions(SOURCE, tmp_path / "prepared", num_shards=2)))
    path = pathlib.Path(data.prepared.paths[1])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with pytest.raises(tf.errors.DataLossError), damage_named(data):
        raise tf.errors.DataLossError(None, None, "a checkpoint")
    path.write_bytes(content)
    flags = ["--data", str(data.prepared.directory), "--job-dir", str(tmp_path / "run")]
    with pytest.raises(UserError, match=r"users-00001-of-00002.tfrecord is damaged \(corrupted record at \d+\)"):
        task.main(flags)
