"""What a canary must not be: failing, slow, other than what is stable beyond measure, or silent."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Mapping

from pipeline.gate.asking import Comparison
from pipeline.gate.latency import Estimate
from serving.client import Recommendation


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is still good enough.

    Attributes:
      k: the first items of an answer that are compared.
      min_overlap: of those, the mean share that both servers return.
      max_p99_ratio: how many times stable's p99 the canary's may be.
      max_p99_ms: what it may be whatever stable's is.
      max_failed: requests to the canary that may fail.
      max_more_empty: by how much its share of answers without an item may be above stable's.
    """

    k: int = 50
    min_overlap: float = 0.3
    max_p99_ratio: float = 1.3
    max_p99_ms: float = 50.0
    max_failed: int = 0
    max_more_empty: float = 0.005


@dataclasses.dataclass(frozen=True)
class Check:
    """One rule, as it was applied.

    Attributes:
      name: of what was measured.
      stable, canary: the figures of both; None where there is only one for both.
      limit: what it is held against.
      passed: whether it is kept.
      note: what else the reader should know: the noise, or the reason why it is not.
    """

    name: str
    stable: float | None
    canary: float
    limit: float
    passed: bool
    note: str


def overlaps(compared: Comparison, k: int) -> list[float]:
    """Of each query that both answered with an item: the share of the longer answer's first k that both have."""
    found = []
    for number, answer in compared.stable.answers.items():
        if number in compared.canary.answers:
            sides = [set(side.item_ids[:k]) for side in (answer, compared.canary.answers[number])]
            if longest := max(map(len, sides)):
                found.append(len(sides[0] & sides[1]) / longest)
    return found


def check(compared: Comparison, times: Mapping[str, Estimate], limits: Limits) -> Iterator[Check]:
    """Applies every rule; `times` has the estimates of "p99" in seconds and of "ratio"."""
    stable, canary = compared.stable, compared.canary
    failures = ", ".join(f"{count} {code}" for code, count in sorted(canary.failures.items()))
    yield Check(
        "failed requests",
        stable.failed,
        canary.failed,
        limits.max_failed,
        canary.failed <= limits.max_failed,
        failures or f"of {compared.rounds} each",
    )
    yield _time("p99 ms", times["p99"], limits.max_p99_ms, 1000)
    yield _time("p99 ratio", times["ratio"], limits.max_p99_ratio, 1)
    yield _overlap(compared, limits)
    shares = [_empty(side.answers) for side in (stable, canary)]
    yield Check(
        "empty answers",
        *shares,
        shares[0] + limits.max_more_empty,
        shares[1] <= shares[0] + limits.max_more_empty,
        f"share of {len(canary.answers)} queries",
    )


def _time(name: str, found: Estimate, limit: float, unit: float) -> Check:
    kept = found.verdict(limit / unit)
    noise = f"{found.low * unit:.2f} to {found.high * unit:.2f} by chance"
    note = noise if kept is not None else f"{noise}, which leaves it open: decided by the figure itself"
    return Check(name, None, found.value * unit, limit, found.value * unit <= limit if kept is None else kept, note)


def _overlap(compared: Comparison, limits: Limits) -> Check:
    found = overlaps(compared, limits.k)
    mean = statistics.fmean(found) if found else 0.0
    error = statistics.stdev(found) / len(found) ** 0.5 if len(found) > 1 else 0.0
    note = f"mean of {len(found)} queries, +- {error:.3f}" if found else "no query was answered by both with an item"
    return Check(f"overlap@{limits.k}", None, mean, limits.min_overlap, mean >= limits.min_overlap, note)


def _empty(answers: Mapping[int, Recommendation]) -> float:
    return sum(not answer.item_ids for answer in answers.values()) / max(len(answers), 1)
