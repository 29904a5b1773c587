"""Checks a demo's metrics.json: every number is there and is one that a working system can give."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from typing import Any

ROWS = ("popularity", "two_tower", "sparcode", "sparcode_served", "sparcode_served_sparse")
QUALITY = ("recall@50", "ndcg@50", "hr@10")
POSITIVE = ("index_bytes", "postings", "codes", "p50_ms")
# (better, worse, factor): NDCG@50 of `better` must be at least `factor` times that of `worse`.
ORDER = (("sparcode_served", "sparcode", 0.95), ("sparcode_served", "popularity", 1.2))


def faults(metrics: dict[str, Any]) -> Iterator[str]:
    """Yields what is wrong, one line each."""
    if not metrics.get("data"):
        yield "data: missing or empty"
    rows = metrics.get("rows", {})
    yield from _quality_faults(rows)
    yield from _order_faults(rows)
    yield from _figure_faults(metrics)


def _quality_faults(rows: dict[str, Any]) -> Iterator[str]:
    for row in ROWS:
        for name in QUALITY:
            value = rows.get(row, {}).get(name)
            if not (_is_number(value) and 0 < value <= 1):
                yield f"rows.{row}.{name}: {value!r}, expected a number in (0, 1]"


def _order_faults(rows: dict[str, Any]) -> Iterator[str]:
    for better, worse, factor in ORDER:
        high, low = (rows.get(row, {}).get("ndcg@50") for row in (better, worse))
        if _is_number(high) and _is_number(low) and high < factor * low:
            yield f"rows.{better}.ndcg@50: {high!r}, expected at least {factor} times the {low!r} of {worse}"


def _figure_faults(metrics: dict[str, Any]) -> Iterator[str]:
    for name in POSITIVE:
        value = metrics.get(name)
        if not (_is_number(value) and value > 0):
            yield f"{name}: {value!r}, expected a number above 0"
    rate = metrics.get("unknown_code_rate")
    if not (_is_number(rate) and 0 <= rate <= 1):
        yield f"unknown_code_rate: {rate!r}, expected a number in [0, 1]"
    seconds = metrics.get("seconds")
    if not (isinstance(seconds, dict) and seconds and all(_is_number(s) and s >= 0 for s in seconds.values())):
        yield f"seconds: {seconds!r}, expected seconds by stage"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def main(path: str) -> int:
    """Prints the faults of the file at `path`; returns the exit code."""
    with open(path) as file:
        found = list(faults(json.load(file)))
    for fault in found:
        print(f"error: {path}: {fault}", file=sys.stderr)
    if not found:
        print(f"{path}: all metrics are there and sane")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
