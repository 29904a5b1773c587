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
    """Of a system.

    Attributes:
      p50_ms: of single queries at batch 1, wall time, as are the other percentiles.
      cpu_ms: processor time of a single query, the median: what of the wall time is not waiting for others.
      qps_per_core: queries a second of processor time at batch 32.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    qps_per_core: float


def timed(systems: Mapping[str, Answer], histories: np.ndarray, rounds: int, singles: int) -> dict[str, Times]:
    """Times every system in every round; each is on one thread.

    Args:
      systems: of histories `[B, H]`.
      histories: `[Q, H]`; a round takes other ones than the round before.
      rounds: of which medians count.
      singles: queries asked one at a time in a round; a sixteenth as many batches of 32 follow them.
    """
    alone: dict[str, list[np.ndarray]] = {name: [] for name in systems}
    together: dict[str, list[np.ndarray]] = {name: [] for name in systems}
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        ones = [histories[at : at + 1] for at in rng.integers(0, len(histories), singles)]
        batches = [histories[rng.integers(0, len(histories), BATCH)] for _ in range(max(1, singles // 16))]
        for name, answer in systems.items():
            _milliseconds(answer, ones[:_WARM_UP])
            alone[name].append(_milliseconds(answer, ones))
            together[name].append(_milliseconds(answer, batches))
    return {name: _summary(alone[name], together[name]) for name in systems}


def _summary(alone: list[np.ndarray], together: list[np.ndarray]) -> Times:
    """Medians over rounds."""
    percentiles = np.median([np.percentile(wall, (50, 95, 99)) for wall, _ in alone], axis=0)
    cpu_ms = np.median([np.median(cpu) for _, cpu in alone])
    rate = np.median([1e3 * BATCH / np.median(cpu) for _, cpu in together])
    return Times(*map(float, percentiles), float(cpu_ms), float(rate))


def _milliseconds(answer: Answer, inputs: list[np.ndarray]) -> np.ndarray:
    """Of wall and of processor for each input, `[2, N]`."""
    spent = []
    for each in inputs:
        wall, processor = time.perf_counter(), time.process_time()
        answer(each)
        spent.append((time.perf_counter() - wall, time.process_time() - processor))
    return 1e3 * np.array(spent).T
