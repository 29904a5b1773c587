"""The users: requests at a rate, to the service over all live pods, from the first ready pod to the end."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import pathlib
import threading
from collections.abc import Iterator, Mapping
from unittest import mock

from serving.client import AsyncRecommendClient, channel
from serving.loadtest.mix import Mix, draw, read_users
from serving.loadtest.open_loop import Outcome, arrivals, run
from tests.rehearsal.pace import Pace

_FOREVER = 24 * 3600.0


@dataclasses.dataclass(frozen=True)
class Count:
    """What was asked so far, or between two looks."""

    requests: int
    failed: int
    versions: Mapping[int, int]

    def since(self, before: Count) -> Count:
        """What came after another count."""
        versions = {version: count - before.versions.get(version, 0) for version, count in self.versions.items()}
        return Count(
            self.requests - before.requests,
            self.failed - before.failed,
            {version: count for version, count in sorted(versions.items()) if count},
        )


class Traffic:
    """Sends requests while a `with` block runs, each a batch of an export's queries, many with choices of their own.

    Args:
      target: whom to ask.
      export: whose queries and items requests are made of.
      rate: requests a second.
      pace: of the client's looks at the name service.
    """

    def __init__(self, target: str, export: pathlib.Path, rate: float, pace: Pace) -> None:
        self._target, self._rate, self._pace = target, rate, pace
        self._requests = draw(read_users(export, "genres"), Mix())
        self.outcome = Outcome()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send()), name="traffic", daemon=True)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for the answers to what was asked."""
        self._stopping.set()
        self._thread.join()

    def count(self) -> Count:
        """What has been asked and answered so far."""
        return Count(self.outcome.requests, self.outcome.failed, dict(self.outcome.versions))

    async def _send(self) -> None:
        more = self._pace.channel_arguments
        with mock.patch.object(channel, "_OPTIONS", (*channel._OPTIONS, *more)):  # as it is, if there is no more
            client = AsyncRecommendClient(self._target)
        async with client:
            await run(client, self._requests, self._due(), self.outcome)

    def _due(self) -> Iterator[float]:
        return itertools.takewhile(lambda _: not self._stopping.is_set(), arrivals(self._rate, _FOREVER, seed=0))
