"""The check of a demo's numbers, which `.ci/run` relies on, can fail."""

from __future__ import annotations

import importlib.util
import json
import math
import pathlib
from typing import Any

import pytest

SCRIPT = pathlib.Path(__file__).parent.parent / ".ci" / "check_metrics.py"
_spec = importlib.util.spec_from_file_location("check_metrics", SCRIPT)
check_metrics = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check_metrics)

ROWS = ("popularity", "two_tower", "sparcode", "sparcode_served", "sparcode_served_sparse")
QUALITY = {"recall@50": 0.3, "ndcg@50": 0.2, "hr@10": 0.1}
GOOD = {
    "data": "synthetic",
    "rows": dict.fromkeys(ROWS, QUALITY) | {"popularity": {"recall@50": 0.1, "ndcg@50": 0.05, "hr@10": 0.02}},
    "index_bytes": 1000,
    "postings": 100,
    "codes": 10,
    "unknown_code_rate": 0.0,
    "p50_ms": 1.5,
    "seconds": {"train": 3.0},
}


def with_value(value: Any, *keys: str) -> dict[str, Any]:
    """GOOD with one value changed."""
    metrics = json.loads(json.dumps(GOOD))
    place = metrics
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return metrics


def test_good_metrics_have_no_fault() -> None:
    assert list(check_metrics.faults(GOOD)) == []


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ("", ["data"]),
        ({}, ["rows", "two_tower"]),
        (0.0, ["rows", "sparcode_served", "ndcg@50"]),
        (1.2, ["rows", "popularity", "hr@10"]),
        (math.nan, ["rows", "sparcode", "recall@50"]),
        (0, ["postings"]),
        (None, ["p50_ms"]),
        (True, ["codes"]),
        (-0.1, ["unknown_code_rate"]),
        ({}, ["seconds"]),
        ({"train": -1}, ["seconds"]),
    ],
)
def test_each_bad_value_is_named(value: Any, keys: list[str]) -> None:
    found = list(check_metrics.faults(with_value(value, *keys)))
    assert found
    assert all(fault.startswith(".".join(keys)) for fault in found)


@pytest.mark.parametrize(("worse", "ndcg"), [("sparcode", 0.22), ("popularity", 0.17)])
def test_serving_worse_than_it_should_is_a_fault(worse: str, ndcg: float) -> None:
    (fault,) = check_metrics.faults(with_value(ndcg, "rows", worse, "ndcg@50"))
    assert fault.startswith("rows.sparcode_served.ndcg@50: 0.2, expected at least")
    assert worse in fault


@pytest.mark.parametrize("key", GOOD)
def test_each_missing_key_is_a_fault(key: str) -> None:
    assert list(check_metrics.faults({name: value for name, value in GOOD.items() if name != key}))


def test_the_exit_code_tells(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(GOOD))
    assert check_metrics.main(str(path)) == 0
    path.write_text(json.dumps(with_value(-1, "postings")))
    assert check_metrics.main(str(path)) == 1
    assert "postings: -1, expected a number above 0" in capsys.readouterr().err
