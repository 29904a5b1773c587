"""What the embedded server counts: TensorFlow Serving's metrics, by its names, labels and buckets."""

from __future__ import annotations

import bisect
import itertools
import threading
from collections.abc import Iterator, Sequence

Labels = tuple[str, ...]
# Microseconds, as of all of TensorFlow Serving's latencies: 10, 18, 32.4, ... to about 25 minutes.
_LIMITS = tuple(10 * 1.8**power for power in range(33))
_MICROSECONDS = 1e6


class _Counter:
    """How often something happened, by the values of its labels."""

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self._name, self._labels = name, labels
        self._counts: dict[Labels, int] = {}
        self._lock = threading.Lock()

    def add(self, *values: str) -> None:
        with self._lock:
            self._counts[values] = self._counts.get(values, 0) + 1

    def lines(self) -> Iterator[str]:
        yield f"# TYPE {self._name} counter"
        with self._lock:
            counts = dict(self._counts)
        for values, count in counts.items():
            yield f"{self._name}{{{_pairs(self._labels, values)}}} {count}"


class _Histogram:
    """How long something took, by the values of its labels."""

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        self._name, self._labels = name, labels
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        self._lock = threading.Lock()

    def add(self, seconds: float, *values: str) -> None:
        microseconds = seconds * _MICROSECONDS
        with self._lock:
            counts = self._counts.setdefault(values, [0] * (len(_LIMITS) + 1))
            counts[bisect.bisect_right(_LIMITS, microseconds)] += 1
            self._sums[values] = self._sums.get(values, 0.0) + microseconds

    def lines(self) -> Iterator[str]:
        yield f"# TYPE {self._name} histogram"
        with self._lock:
            found = [(values, list(counts), self._sums[values]) for values, counts in self._counts.items()]
        limits = [*(f"{limit:g}" for limit in _LIMITS), "+Inf"]
        for values, counts, total in found:
            pairs = _pairs(self._labels, values)
            for limit, count in zip(limits, itertools.accumulate(counts), strict=True):
                yield f'{self._name}_bucket{{{pairs},le="{limit}"}} {count}'
            yield f"{self._name}_sum{{{pairs}}} {total:g}"
            yield f"{self._name}_count{{{pairs}}} {sum(counts)}"


def _pairs(names: Sequence[str], values: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class ServerMetrics:
    """All of them, for any number of threads.

    Not by prometheus_client: its counters' names end in `_total`, and TensorFlow Serving's do not.
    """

    def __init__(self) -> None:
        self._requests = _Counter(":tensorflow:serving:request_count", ("model_name", "status"))
        self._latency = _Histogram(":tensorflow:serving:request_latency", ("model_name", "API", "entrypoint"))
        self._runtime = _Histogram(":tensorflow:serving:runtime_latency", ("model_name", "API", "runtime"))
        self._loads = _Counter(":tensorflow:cc:saved_model:load_attempt_count", ("model_path", "status"))

    def request(self, model: str, status: str, seconds: float) -> None:
        """A Predict that ended with a status; its time counts only if that is OK, as in TensorFlow Serving."""
        self._requests.add(model, status)
        if status == "OK":
            self._latency.add(seconds, model, "Predict", "GRPC")

    def run(self, model: str, seconds: float) -> None:
        """What of a Predict was spent in the graph."""
        self._runtime.add(seconds, model, "Predict", "TF1")

    def load(self, path: str, succeeded: bool) -> None:
        """An attempt to load a version."""
        self._loads.add(path, "success" if succeeded else "fail")

    def page(self) -> str:
        """All of them, in Prometheus' text format."""
        metrics = (self._requests, self._latency, self._runtime, self._loads)
        return "".join(f"{line}\n" for metric in metrics for line in metric.lines())
