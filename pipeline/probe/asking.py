"""Asks one track, query after query, at a steady pace."""

from __future__ import annotations

import dataclasses
import itertools
import socket
import threading
import time
from collections.abc import Sequence

from pipeline.probe.metrics import ProbeMetrics
from serving.client import PredictError, Query, QueryError, RecommendClient, TensorError

_WRONG_QUERY = "INVALID_ARGUMENT"
_LOOK_AGAIN_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Track:
    """Servers that serve one version.

    Attributes:
      name: the label of their pods.
      address: `host:port` or `dns:///host:port`.
      optional: whether there may be none, such as of a canary: it is asked while the name of its host is known.
    """

    name: str
    address: str
    optional: bool = False

    def is_there(self) -> bool:
        """Whether anything can be asked."""
        if not self.optional:
            return True
        host, _, port = self.address.rpartition("/")[2].rpartition(":")
        try:
            return bool(socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM))
        except OSError:
            return False


class Asking(threading.Thread):
    """Asks one track until it is stopped; what goes wrong is counted, and never ends it."""

    def __init__(
        self, track: Track, client: RecommendClient, queries: Sequence[Query], rate: float, metrics: ProbeMetrics
    ) -> None:
        super().__init__(name=f"probe-{track.name}", daemon=True)
        self._track, self._client, self._metrics = track, client, metrics
        self._queries, self._seconds = itertools.cycle(queries), 1 / rate
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Lets the request under way end."""
        self._stopping.set()

    def run(self) -> None:
        """Asks when it is time to, not after a pause: a slow answer makes no fewer requests, until it takes longer."""
        due, looked, there = time.monotonic(), float("-inf"), False
        while not self._stopping.wait(max(due - time.monotonic(), 0)):
            due = max(due + self._seconds, time.monotonic() - self._seconds)
            if time.monotonic() - looked > _LOOK_AGAIN_SECONDS:
                looked, there = time.monotonic(), self._track.is_there()
            if there:
                self.ask(next(self._queries))

    def ask(self, query: Query) -> None:
        """Asks one query."""
        code, answers = "OK", []
        start = time.perf_counter()
        try:
            answers = self._client.recommend([query])
        except PredictError as error:
            code = error.code.name
        except (QueryError, TensorError):  # the model's features are others than those of the recorded queries
            code = _WRONG_QUERY
        self._metrics.request(self._track.name, code, time.perf_counter() - start)
        for answer in answers:
            self._metrics.answer(self._track.name, answer)
