"""What a load test found, for people and for programs."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from protos.artifact import writing
from serving.loadtest.open_loop import Outcome

_KIB_A_MIB = 1024


@dataclasses.dataclass(frozen=True)
class Report:
    """The figures; what is not known is None.

    Attributes:
      requests, failed: how many were sent, and of them not answered.
      p50_ms, p95_ms, p99_ms, p999_ms, max_ms: from when a request was due to its end.
      swaps: how often another version took over.
      rss_mib_start, rss_mib_end: the server's resident memory.
      requests_per_second, queries_per_second: that were sent, and that were answered.
      failures, versions: requests by status code, and by the version that answered.
    """

    requests: int
    failed: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    swaps: int | None
    rss_mib_start: float | None
    rss_mib_end: float | None
    requests_per_second: float
    queries_per_second: float
    failures: Mapping[str, int]
    versions: Mapping[int, int]

    def write(self, path: pathlib.Path, **more: Any) -> None:
        """Writes the figures, and `more`, as a JSON object."""
        with writing(path):
            path.write_text(json.dumps(dataclasses.asdict(self) | more, indent=1) + "\n")

    def __str__(self) -> str:
        times = f"p50 {self.p50_ms:.2f}, p95 {self.p95_ms:.2f}, p99 {self.p99_ms:.2f}, p99.9 {self.p999_ms:.2f}"
        lines = [
            f"{self.requests} requests, {self.requests_per_second:.1f} a second, {self.failed} failed"
            f" {self.failures or ''}",
            f"{times}, longest {self.max_ms:.2f} ms",
            f"answered by versions {dict(sorted(self.versions.items()))}",
        ]
        if self.rss_mib_start is not None and self.rss_mib_end is not None:
            lines.append(f"the server's memory: {self.rss_mib_start:.1f} MiB, then {self.rss_mib_end:.1f} MiB")
        return "\n".join(lines)


def report(outcome: Outcome, rss_mib: tuple[float | None, float | None]) -> Report:
    """The figures of a load, and of the server's memory before and after it."""
    return Report(
        requests=outcome.requests,
        failed=outcome.failed,
        p50_ms=outcome.milliseconds(50),
        p95_ms=outcome.milliseconds(95),
        p99_ms=outcome.milliseconds(99),
        p999_ms=outcome.milliseconds(99.9),
        max_ms=outcome.milliseconds(100),
        swaps=max(len(outcome.versions) - 1, 0),
        rss_mib_start=rss_mib[0],
        rss_mib_end=rss_mib[1],
        requests_per_second=outcome.requests / max(outcome.seconds, 1e-9),
        queries_per_second=outcome.queries / max(outcome.seconds, 1e-9),
        failures=dict(outcome.failures),
        versions=dict(outcome.versions),
    )


def rss_mib(pid: int | None) -> float | None:
    """Resident memory of a process, where the system tells (/proc)."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    kib = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")), None)
    return None if kib is None else int(kib) / _KIB_A_MIB
