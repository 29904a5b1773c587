"""The command: every kind of model trains; what has codes is exported, with the lists of its memory."""

from __future__ import annotations

import re

import pyarrow.parquet as pq
import pytest
import yaml

from protos.artifact import read_manifest
from protos.errors import UserError
from tests.support.models import small_config, walks_split
from trainer import task
from trainer.export import FORMAT
from trainer.model import SparCode
from trainer.placement import Placement
from trainer.split_data import SplitData, indexed_queries

DATA = "synthetic:users=40,items=50,interactions=900,seed=1"
SMALL = {
    "tokenizer.dim": 8,
    "quantizer.num_codewords": 4,
    "quantizer.warmup_epochs": 1,
    "memory.l2": 5.0,
    "data.max_history": 10,
    "training.epochs": 2,
}


def run(job_dir, model: str, **flags) -> None:
    values = SMALL | {name.replace("__", "."): value for name, value in flags.items()}
    flat = [part for name, value in values.items() for part in (f"--{name}", str(value))]
    task.main(["--data", DATA, "--job-dir", str(job_dir), "--model", model, *flat])


def test_validation_events_judge_the_whole_training_history_and_no_other_query():
    parts = walks_split(users=5)
    queries, relevant, _ = indexed_queries(parts, small_config())
    assert len(queries) == len(relevant) > 10
    judging = [(query.tolist(), rows.tolist()) for query, rows in zip(queries, relevant, strict=True) if len(rows)]
    assert judging == [
        (events.tolist(), later.tolist()) for events, later in zip(parts.train, parts.validation, strict=True)
    ]
    assert max(len(events) for events in parts.train) > 6
    assert max(len(query) for query, rows in zip(queries, relevant, strict=True) if not len(rows)) == 6


def test_only_so_many_users_are_indexed_as_asked():
    parts = walks_split(users=12)
    found = [indexed_queries(parts, small_config(data={"indexed_users": limit})) for limit in (0, 5, 5, 12)]
    judging = [[query.tolist() for query, rows in zip(*each[:2], strict=True) if len(rows)] for each in found]
    assert judging[0] == judging[3] == [events.tolist() for events in parts.train]
    assert len(judging[1]) == 5
    assert all(query in judging[0] for query in judging[1])
    assert [query.tolist() for query in found[1].histories] == [query.tolist() for query in found[2].histories]


def test_a_run_begun_before_a_field_was_there_goes_on(tmp_path):
    data, config = SplitData(walks_split(users=5)), small_config()
    task._claim(tmp_path, config, data, SparCode, Placement())
    kept = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del kept["features"]["from_data"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(kept))
    task._claim(tmp_path, config, data, SparCode, Placement())
    with pytest.raises(UserError, match=r"config.yaml is of a run with another configuration"):
        task._claim(tmp_path, small_config(features={"from_data": False}), data, SparCode, Placement())


@pytest.mark.parametrize("model", ["two_tower", "late_interaction"])
def test_baselines_train_and_export_nothing(model, tmp_path, capsys):
    run(tmp_path, model)
    assert "nothing to export" in capsys.readouterr().out
    assert (tmp_path / "checkpoints" / "best").is_dir()
    assert not (tmp_path / "export").exists()


def test_the_all_to_all_model_exports_nothing(tmp_path, capsys):
    run(tmp_path, "sparcode", quantizer__structure="none")
    assert "nothing to export" in capsys.readouterr().out
    assert not (tmp_path / "export").exists()


def test_a_two_tower_run_is_what_sparcode_starts_from(tmp_path, capsys):
    run(tmp_path / "first", "two_tower")
    run(tmp_path / "second", "sparcode", training__warm_start=tmp_path / "first")
    out = capsys.readouterr().out
    assert re.search(rf"warm start from {tmp_path / 'first'}: (\d+) of \1 items known", out)
    described = read_manifest(tmp_path / "second" / "export", FORMAT)["model"]
    lists = pq.read_table(tmp_path / "second" / "export" / "lists.parquet")
    assert (len(lists) > 0) == (described["num_events"] > 0)
    assert described["num_events"] in (0, 10)


def test_a_warm_start_from_nowhere_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"training.warm_start .*nowhere: no trained run there"):
        run(tmp_path / "job", "sparcode", training__warm_start=tmp_path / "nowhere")
