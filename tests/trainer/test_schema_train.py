"""A model is trained on the features that the data's schema declares, and says so."""

from __future__ import annotations

import random

from protos.artifact import read_manifest
from tests.support.own_data import write, write_schema
from trainer import task
from trainer.config import load
from trainer.export import FORMAT

_TINY = {
    "tokenizer.dim": 8,
    "quantizer.num_codewords": 4,
    "quantizer.warmup_epochs": 1,
    "memory.num_events": 0,
    "data.max_history": 6,
    "training.epochs": 1,
}


def test_declared_features_are_those_of_the_run_and_its_export(tmp_path):
    rng = random.Random(1)
    events = [(f"u{user}", f"i{rng.randrange(25)}", 10**9 + n) for user in range(20) for n in range(12)]
    write(tmp_path / "log.csv", dict(zip(("user", "item", "time"), zip(*events, strict=True), strict=True)))
    write(tmp_path / "items.csv", {"id": [f"i{n}" for n in range(25)], "tags": ["p|q", "q"] * 12 + [None]})
    write(tmp_path / "users.csv", {"id": [f"u{n}" for n in range(20)], "land": ["DE", "FR"] * 10})
    tags = {"name": "tags", "kind": "multi_category", "separator": "|"}
    schema = {
        "interactions": {"files": "log.csv", "user": "user", "item": "item", "time": "time"},
        "items": {"files": "items.csv", "id": "id", "features": [tags]},
        "users": {"files": "users.csv", "id": "id", "features": [{"name": "land", "kind": "category"}]},
    }
    own = write_schema(tmp_path / "own.yaml", schema)
    flags = [part for name, value in _TINY.items() for part in (f"--{name}", str(value))]
    task.main(["--data", str(own), "--job-dir", str(tmp_path / "run"), *flags])
    features = load(str(tmp_path / "run" / "config.yaml")).features
    assert [feature.name for feature in features.items] == ["tags"]
    model = read_manifest(tmp_path / "run" / "export", FORMAT)["model"]
    assert [feature["name"] for feature in model["features"]["items"]] == ["tags"]
    assert [each["name"] for each in model["query_inputs"]] == ["land"]
