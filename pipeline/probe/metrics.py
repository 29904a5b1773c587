"""What the probe tells Prometheus; k8s/monitoring/metrics.yaml names every metric, and who reads it."""

from __future__ import annotations

import functools
import pathlib
import threading
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from protos.servable import SERVABLE_MANIFEST
from serving.client import Recommendation

# Around the limits of the alerts (50 ms) closer to one another than elsewhere.
_SECONDS = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_BY_VERSION = ("track", "version")
_FORGOTTEN_AFTER = 120.0


class ProbeMetrics:
    """Counts what tracks answer, for one thread a track.

    Args:
      registry: that is exported.
      published: the directory of the published versions, whose manifests say when they were; None if it cannot be seen.
    """

    def __init__(self, registry: CollectorRegistry, published: pathlib.Path | None) -> None:
        disable_created_metrics()  # a series more for each, which nobody reads
        self._published = published
        self._seen: dict[tuple[str, str], float] = {}
        self._dated: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        counter = functools.partial(Counter, registry=registry)
        self._requests = counter("sparcode_probe_requests", "Predict calls, by gRPC's status code.", ("track", "code"))
        self._seconds = Histogram(
            "sparcode_probe_request_seconds",
            "A call, as a client sees it.",
            ("track",),
            registry=registry,
            buckets=_SECONDS,
        )
        self._answers = counter(
            "sparcode_probe_answers", "Answered queries, by the version that answered.", _BY_VERSION
        )
        self._empty = counter("sparcode_probe_empty_answers", "Those of them without a single item.", _BY_VERSION)
        self._tokens = counter("sparcode_probe_tokens", "Query tokens of answered queries.", _BY_VERSION)
        self._unknown = counter("sparcode_probe_unknown_codes", "Those of them whose code has no list.", _BY_VERSION)
        self._published_at = Gauge(
            "sparcode_probe_published_timestamp_seconds",
            "When the version that answers was published: the time of its manifest.",
            _BY_VERSION,
            registry=registry,
        )

    def request(self, track: str, code: str, seconds: float) -> None:
        """A call that ended with a status code."""
        self._requests.labels(track, code).inc()
        self._seconds.labels(track).observe(seconds)

    def answer(self, track: str, answer: Recommendation) -> None:
        """An answered query."""
        labels = track, str(answer.model_version)
        self._answers.labels(*labels).inc()
        self._empty.labels(*labels).inc(not answer.item_ids)
        self._tokens.labels(*labels).inc(len(answer.codes))
        self._unknown.labels(*labels).inc(sum(answer.fallback[: len(answer.codes)]))
        self._date(labels)

    def _date(self, labels: tuple[str, str]) -> None:
        """Says when the version was published, and no longer says it of versions that do not answer any more."""
        now = time.monotonic()
        with self._lock:
            # Looked for until it is found: a volume may be out of reach for a while.
            if labels not in self._dated and (published := self._time_of(labels[1])) is not None:
                self._published_at.labels(*labels).set(published)
                self._dated.add(labels)
            self._seen[labels] = now
            for gone in [key for key, last in self._seen.items() if now - last > _FORGOTTEN_AFTER]:
                del self._seen[gone]
                if gone in self._dated:
                    self._dated.remove(gone)
                    self._published_at.remove(*gone)

    def _time_of(self, version: str) -> float | None:
        if self._published is None:
            return None
        try:
            return (self._published / version / SERVABLE_MANIFEST).stat().st_mtime
        except OSError:  # removed since, or not to be seen from here
            return None
