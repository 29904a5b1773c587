"""Times systems side by side, in rounds, so that what else the machine does falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

Answer = Callable[[np.ndarray], object]
BATCH = 32
_WARM_UP = 5


class Times(NamedTuple):
    """Of a system: milliseconds of single queries at batch 1, and queries a second and core at batch 32."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    qps_per_core: float


def timed(systems: Mapping[str, Answer], histories: np.ndarray, rounds: int, singles: int) -> dict[str, Times]:
    """Times every system in every round; each is on one thread.

    Args:
      systems: of histories `[B, H]`.
      histories: `[Q, H]`; a round takes other ones than the round before.
      rounds: of which medians count.
      singles: queries alone, and also batches of 32 times a quarter as many queries, a round.
    """
    alone: dict[str, list[np.ndarray]] = {name: [] for name in systems}
    rates: dict[str, list[float]] = {name: [] for name in systems}
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        ones = [histories[at : at + 1] for at in rng.integers(0, len(histories), singles)]
        batches = [histories[rng.integers(0, len(histories), BATCH)] for _ in range(max(1, singles // 16))]
        for name, answer in systems.items():
            for one in ones[:_WARM_UP]:
                answer(one)
            alone[name].append(_seconds(answer, ones) * 1e3)
            answer(batches[0])
            rates[name].append(BATCH / float(np.median(_seconds(answer, batches))))
    return {name: _summary(alone[name], rates[name]) for name in systems}


def _summary(alone: list[np.ndarray], rates: list[float]) -> Times:
    """Medians over rounds."""
    percentiles = np.median([np.percentile(each, (50, 95, 99)) for each in alone], axis=0)
    return Times(*map(float, percentiles), float(np.median(rates)))


def _seconds(answer: Answer, inputs: list[np.ndarray]) -> np.ndarray:
    seconds = []
    for each in inputs:
        start = time.perf_counter()
        answer(each)
        seconds.append(time.perf_counter() - start)
    return np.array(seconds)
