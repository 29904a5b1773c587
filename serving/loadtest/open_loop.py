"""Requests that come when they are due, whether or not the server has answered those before.

A closed loop, which waits for an answer before it asks again, asks least while the server stalls, and so hardly
sees the stall ("coordinated omission"). Here arrivals are a Poisson process, and a request's time runs from when
it was due: whatever kept it waiting counts.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import random
import time
from collections.abc import Iterator, Sequence

from hdrh.histogram import HdrHistogram

from serving.client import AsyncRecommendClient, PredictError, Query

_MICROSECONDS = 1_000_000
_LONGEST_MICROSECONDS = 3600 * _MICROSECONDS
_DIGITS = 3


@dataclasses.dataclass
class Outcome:
    """What became of the requests.

    Attributes:
      times: microseconds from when a request was due to its end, of those that failed too.
      failures: how many ended with each status code, or with fewer answers than queries.
      versions: how many each version answered.
      queries: answered.
      seconds: that the load took, until the last request's end.
    """

    times: HdrHistogram = dataclasses.field(default_factory=lambda: HdrHistogram(1, _LONGEST_MICROSECONDS, _DIGITS))
    failures: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    versions: collections.Counter[int] = dataclasses.field(default_factory=collections.Counter)
    queries: int = 0
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        """How many there were."""
        return self.times.get_total_count()

    @property
    def failed(self) -> int:
        """How many of them were not answered."""
        return sum(self.failures.values())

    def milliseconds(self, percentile: float) -> float:
        """The time that so many percent of the requests did not exceed."""
        return self.times.get_value_at_percentile(percentile) * 1000 / _MICROSECONDS


def arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """When requests are due: a Poisson process of `rate` a second, from 0 to `seconds`."""
    rng = random.Random(seed)
    due = rng.expovariate(rate)
    while due < seconds:
        yield due
        due += rng.expovariate(rate)


async def run(
    client: AsyncRecommendClient,
    requests: Iterator[Sequence[Query]],
    due: Iterator[float],
    outcome: Outcome | None = None,
) -> Outcome:
    """Sends each request when it is due and waits for the last one's end.

    Args:
      client: its timeout bounds every request.
      requests: at least as many as there are arrivals.
      due: seconds from now, ascending.
      outcome: where what becomes of them is kept, for who looks while they run; returned in the end.
    """
    outcome = Outcome() if outcome is None else outcome
    start = time.monotonic()
    async with asyncio.TaskGroup() as under_way:
        for seconds in due:
            await asyncio.sleep(start + seconds - time.monotonic())
            under_way.create_task(_send(client, next(requests), start + seconds, outcome))
    outcome.seconds = time.monotonic() - start
    return outcome


async def _send(client: AsyncRecommendClient, queries: Sequence[Query], due: float, outcome: Outcome) -> None:
    try:
        answers = await client.recommend(queries)
    except PredictError as error:
        outcome.failures[error.code.name] += 1
    else:
        outcome.queries += len(answers)
        outcome.versions[answers[0].model_version] += 1
        if len(answers) != len(queries):
            outcome.failures["answers missing"] += 1
    microseconds = int((time.monotonic() - due) * _MICROSECONDS)
    outcome.times.record_value(min(max(microseconds, 1), _LONGEST_MICROSECONDS))
