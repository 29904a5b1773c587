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


def faults(metrics: dict[str, Any]) -> Iterator[str]:
    """Yields what is wrong, one line each."""
    if not metrics.get("data"):
        yield "data: missing or empty"
    for row in ROWS:
        for name in QUALITY:
            value = metrics.get("rows", {}).get(row, {}).get(name)
            if not (_is_number(value) and 0 < value <= 1):
                yield f"rows.{row}.{name}: {value!r}, expected a number in (0, 1]"
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
