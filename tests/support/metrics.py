"""Metrics in Prometheus' text format, read by a parser of its own."""

from __future__ import annotations

import re
import urllib.request
from typing import NamedTuple

from serving.monitoring import DEFAULT_PATH

_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)",?')
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)")


class Sample(NamedTuple):
    """One series as it was scraped."""

    name: str
    labels: dict[str, str]
    value: float


def parse(page: str) -> list[Sample]:
    """The samples of a page; whatever is none and no comment fails."""
    samples = []
    for line in page.splitlines():
        if not line.startswith("#"):
            name, labels, value = _SAMPLE.fullmatch(line).groups()
            pairs = {key: re.sub(r"\\(.)", r"\1", text) for key, text in _LABEL.findall(labels or "")}
            samples.append(Sample(name, pairs, float(value)))
    return samples


def fetch(address: str, path: str = DEFAULT_PATH) -> list[Sample]:
    """What is at `host:port` and a path."""
    with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as response:
        return parse(response.read().decode())
