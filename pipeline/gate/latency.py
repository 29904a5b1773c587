"""How much slower one server is than another, and how sure that is.

A p99 is made by few requests: of 1,000, ten lie above it. So it is never compared without its noise. That is found by
a bootstrap over blocks of consecutive rounds (requests near in time are alike: a busy neighbour slows many of them),
the same blocks for both servers, since both were asked side by side.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence

BLOCK = 25
RESAMPLES = 400
# One-sided: a limit that is kept is found broken, or one broken found kept, once in a hundred times each.
CONFIDENCE = 0.99


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure, and what it may be: below `low`, and above `high`, with a probability of 1% each."""

    value: float
    low: float
    high: float

    def verdict(self, limit: float) -> bool | None:
        """Whether it is within the limit; None where noise leaves that open."""
        if self.high <= limit:
            return True
        return False if self.low > limit else None


def p99(seconds: Sequence[float]) -> float:
    """The time that 99% of the requests did not exceed: the smallest one of which that is true."""
    return sorted(seconds)[math.ceil(0.99 * len(seconds)) - 1]


def estimate(
    stable: Sequence[float], canary: Sequence[float], figure: Callable[[Sequence[float], Sequence[float]], float]
) -> Estimate:
    """A figure of both servers' times, with its noise; `stable[i]` and `canary[i]` are of one round."""
    rng = random.Random(0)
    starts = range(0, len(stable), BLOCK)
    found = []
    for _ in range(RESAMPLES):
        picked = rng.choices(starts, k=len(starts))
        found.append(figure(_blocks(stable, picked), _blocks(canary, picked)))
    found.sort()
    place = round((1 - CONFIDENCE) * RESAMPLES)
    return Estimate(figure(stable, canary), found[place], found[-1 - place])


def _blocks(seconds: Sequence[float], starts: Sequence[int]) -> list[float]:
    return [time for start in starts for time in seconds[start : start + BLOCK]]


def canary_p99(stable: Sequence[float], canary: Sequence[float]) -> float:
    """Seconds."""
    return p99(canary)


def ratio_of_p99(stable: Sequence[float], canary: Sequence[float]) -> float:
    """How many times as long the canary takes."""
    return p99(canary) / p99(stable)
