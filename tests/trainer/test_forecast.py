"""--dry-run of a training: what it says is what the training then does, and it writes nothing."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf

from protos.errors import UserError
from trainer import task

FLAGS = {
    "data": "synthetic:users=40,items=50,interactions=900,seed=1",
    "model": "two_tower",
    "tokenizer.dim": 8,
    "data.max_history": 10,
    "training.epochs": 2,
    "training.validate_every": 1,
    "training.batch_events": 100,
}


def run(job_dir, *more: str, **fields) -> None:
    flags = [f"--{name}={value}" for name, value in (FLAGS | fields).items()]
    task.main([*flags, "--job-dir", str(job_dir), *more])


def test_a_dry_run_writes_nothing_and_the_run_is_what_it_said(tmp_path, capsys):
    job_dir = tmp_path / "run"
    run(job_dir, "--dry-run")
    said = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert f"would write   {job_dir}: a new run" in said
    run(job_dir)
    checkpoint = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(job_dir / "checkpoints")))
    shapes = checkpoint.get_variable_to_shape_map()
    steps = int(checkpoint.get_tensor("model/step/.ATTRIBUTES/VARIABLE_VALUE"))
    assert f"steps         {steps // 2:,} an epoch of up to 100 events; at most 2 epochs, {steps:,} steps" in said
    # Adam has two moments of every trained weight, and nothing else that is no scalar.
    moments = sum(int(np.prod(shape)) for name, shape in shapes.items() if name.startswith("optimizer/") and shape)
    assert f"weights       {moments // 2:,} that are trained" in said
    before = {path: path.stat().st_mtime_ns for path in job_dir.rglob("*")}
    run(job_dir, "--dry-run")
    assert "goes on with the run that is there" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"config.yaml is of a run with another configuration"):
        run(job_dir, "--dry_run", **{"training.epochs": 3})
    with pytest.raises(UserError, match=r"data.sha256 is of a run with another data"):
        run(job_dir, "--dry_run", data="synthetic:users=40,items=50,interactions=900,seed=2")
    assert {path: path.stat().st_mtime_ns for path in job_dir.rglob("*")} == before


def test_what_has_codes_is_told_from_what_has_not(tmp_path, capsys):
    run(tmp_path / "run", "--dry-run", model="sparcode", **{"quantizer.num_codewords": 16, "memory.max_items": 1000})
    said = capsys.readouterr().out
    assert "codes         64, that the index scores with each item" in said
    assert re.search(r"memory        at least \d[\d,]* MB .* of the item memory at the end", said)
    assert "logs, export" in said
    run(tmp_path / "run", "--dry-run")
    said = capsys.readouterr().out
    assert "codes  " not in said
    assert "export" not in said


def test_a_file_in_the_place_of_the_job_directory_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match=r"--job-dir .*run is a file; expected a directory"):
        run(tmp_path / "run", "--dry-run")
