"""From a log to answers over gRPC without the log in memory: prepared, trained by streaming, indexed, served."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from pipeline.steps import build_index, export_servable, served
from protos.errors import UserError
from tests.trainer.test_prepared_context import schema_of
from trainer import task
from trainer.data.__main__ import main as data_command
from trainer.data.prepared import read_prepared
from trainer.prepared_data import PreparedData

SOURCE = "synthetic:users=120,items=150,interactions=4000,seed=3"
KEPT, BUCKETS = 60, 7
TINY = {
    "tokenizer.dim": 8,
    "quantizer.num_codewords": 4,
    "quantizer.warmup_epochs": 2,
    "memory.l2": 5.0,
    "data.max_history": 10,
    "data.indexed_users": 50,
    "training.epochs": 4,
    "training.steps_per_epoch": 9,
    "training.validation_users": 30,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a run on prepared data whose rarest items share rows."""
    directory = tmp_path_factory.mktemp("run")
    flags = ["--max_items", str(KEPT), "--tail_buckets", str(BUCKETS), "--num_shards", "3"]
    data_command(["prepare", "--data", SOURCE, "--output", str(directory / "prepared"), *flags])
    flat = [part for name, value in TINY.items() for part in (f"--{name}", str(value))]
    task.main(["--data", str(directory / "prepared"), "--job-dir", str(directory), *flat])
    return directory


def test_epochs_end_before_a_pass_is_over(run):
    latest = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(run / "checkpoints")))
    assert latest.get_tensor("model/step/.ATTRIBUTES/VARIABLE_VALUE") == 4 * 9


def test_the_run_ends_in_answers_without_rows_of_the_tail(run):
    build_index(run / "export", run / "index", ["--quality_queries", "0"])
    export_servable(run / "export", run / "index", run / "base", "completed")
    catalogue = pq.read_table(run / "export" / "items.parquet")
    assert catalogue["removed"].to_pylist() == [False] * KEPT + [True] * BUCKETS
    parts = PreparedData(read_prepared(run / "prepared")).sample(20)
    histories = [rows[-10:] for rows in parts.train]
    histories[0] = np.array([KEPT, KEPT + 1])  # nothing that has a row of its own
    with served(run / "base", parts) as ranker:
        ranked = ranker(histories, 40)
    assert (ranked >= 0).any(axis=1).all()
    assert ranked.max() < KEPT


def test_the_exported_query_model_hashes_as_the_preparation_did(run):
    """Of every id: the row in the records and the row in the exported graph say the same to the encoder."""
    prepared = read_prepared(run / "prepared")
    data, whole = PreparedData(prepared), task.split(task.load(SOURCE))
    everybody = data.sample(10**6)
    rows = dict(zip(everybody.user_ids, everybody.train, strict=True))
    tail = {}
    for user, events in zip(whole.user_ids, whole.train, strict=True):
        tail |= {whole.catalogue.item_id[old]: new for old, new in zip(events, rows[user], strict=True) if new >= KEPT}
    assert len(tail) > 3 * BUCKETS
    assert set(tail.values()) == set(range(KEPT, KEPT + BUCKETS))
    query = tf.saved_model.load(str(run / "export" / "query")).signatures["serving_default"]
    names = data.catalogue.item_id

    def encoded(ids: list[str]) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in query(history=tf.constant([[item] for item in ids])).items()}

    by_id, by_bucket = encoded(list(tail)), encoded([names[row] for row in tail.values()])
    for name, values in by_id.items():
        np.testing.assert_array_equal(values, by_bucket[name], err_msg=name)
    nothing, unseen = encoded([""]), encoded(["never seen"])
    assert np.abs(nothing["tokens"] - unseen["tokens"]).max() > 1e-3
    # The memory knows no bucket: it has lists of items only.
    assert max(pq.read_table(run / "export" / "lists.parquet")["key"].to_pylist(), default=0) < (
        json.loads((run / "export" / "manifest.json").read_text())["model"]["num_codewords"] * 4 + KEPT
    )


def test_other_data_or_another_split_is_refused(run, tmp_path):
    flat = [part for name, value in TINY.items() for part in (f"--{name}", str(value))]
    data_command(["prepare", "--data", SOURCE, "--output", str(tmp_path / "other"), "--num_shards", "2"])
    with pytest.raises(UserError, match=r"data\.sha256 is of a run with another data"):
        task.main(["--data", str(tmp_path / "other"), "--job-dir", str(run), *flat])
    with pytest.raises(UserError, match=r"prepared with --split chronological, and data\.split is 'leave_last_out'"):
        task.main(["--data", str(run / "prepared"), "--job-dir", str(run), "--data.split", "leave_last_out"])


@pytest.mark.long
def test_features_of_events_and_users_are_trained_on_and_asked_for(tmp_path):
    data_command(
        ["prepare", "--data", str(schema_of(tmp_path)), "--output", str(tmp_path / "prepared"), "--num_shards", "2"]
    )
    flags = {**TINY, "training.epochs": 2, "quantizer.warmup_epochs": 1}
    flat = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    task.main(["--data", str(tmp_path / "prepared"), "--job-dir", str(tmp_path), *flat])
    queries = pq.read_table(tmp_path / "export" / "queries.parquet")
    assert set(queries.column_names) == {
        *("history", "relevant", "device", "tags", "price", "score", "weight", "land", "face", "job")
    }
    assert [len(each) for each in queries["price"].to_pylist()] == [
        len(each) for each in queries["history"].to_pylist()
    ]
    assert set(queries["land"].to_pylist()) == {"DE", "FR", None}
    build_index(tmp_path / "export", tmp_path / "index", ["--quality_queries", "0"])
    export_servable(tmp_path / "export", tmp_path / "index", tmp_path / "base", "completed")
    parts = PreparedData(read_prepared(tmp_path / "prepared")).sample(20)
    with served(tmp_path / "base", parts) as ranker:
        assert (ranker(parts.known_histories(), 5)[:, 0] >= 0).all()
