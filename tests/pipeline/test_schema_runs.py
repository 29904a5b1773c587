"""What makes a run the same as one before it, where a schema declares the features."""

from __future__ import annotations

import json
import pathlib

import pytest

from pipeline.comparison.store import Store
from pipeline.publishing.foresight import asked
from pipeline.publishing.options import parse
from protos.errors import UserError
from tests.support.own_data import write, write_schema
from trainer.config import Config, from_mapping
from trainer.data import load
from trainer.data.interactions import Interactions

PRICE = {"name": "price", "kind": "number"}


def interactions(path: pathlib.Path, feature: dict) -> Interactions:
    """Three events, and items with a feature."""
    write(path / "log.csv", {"user": [*"uuv"], "item": [*"aba"], "time": [1, 2, 3]})
    write(path / "items.csv", {"id": [*"ab"], "price": [1.0, 2.0]})
    log = {"files": "log.csv", "user": "user", "item": "item", "time": "time"}
    items = {"files": "items.csv", "id": "id", "features": [feature]}
    return load(write_schema(path / "own.yaml", {"interactions": log, "items": items}))


def test_a_published_run_is_another_where_the_schema_declares_other_features(tmp_path):
    options = parse(["--data", "own.yaml", "--work_dir", str(tmp_path), "--to", str(tmp_path / "to")])
    found = [asked(interactions(tmp_path, PRICE | more), options) for more in ({}, {}, {"bins": 4})]
    assert found[0] == found[1]
    assert found[0]["data"] == found[2]["data"]
    assert found[0]["config"] != found[2]["config"]


def test_a_comparison_is_another_where_the_schema_declares_other_features(tmp_path):
    store = Store(tmp_path / "comparison")
    store.claim(interactions(tmp_path, PRICE), Config())
    store.claim(interactions(tmp_path, PRICE), Config())
    with pytest.raises(UserError, match=r"holds another comparison: features.items was"):
        store.claim(interactions(tmp_path, PRICE | {"bins": 4}), Config())


def test_a_comparison_begun_before_a_field_was_there_goes_on(tmp_path):
    store, data = Store(tmp_path / "comparison"), interactions(tmp_path, PRICE)
    store.claim(data, Config())
    path = tmp_path / "comparison" / "comparison.json"
    kept = json.loads(path.read_text())
    del kept["features.from_data"], kept["training.patience"]
    path.write_text(json.dumps(kept))
    store.claim(data, Config())
    with pytest.raises(UserError, match=r"holds another comparison: training.patience was \d+, now is 77"):
        store.claim(data, from_mapping({"training": {"patience": 77}}, "test"))


@pytest.mark.parametrize("command", ["publish", "compare", "task"])
def test_help_tells_of_schemas(command, capsys):
    from pipeline import compare, publish
    from trainer import task

    with pytest.raises(SystemExit):
        {"publish": publish, "compare": compare, "task": task}[command].main(["--help"])
    assert "schema of your own files" in " ".join(capsys.readouterr().out.split())
