"""Asks two servers the same queries, in turns, and keeps what each said and how long it took."""

from __future__ import annotations

import collections
import dataclasses
import random
import time
from collections.abc import Sequence

from protos.errors import UserError
from serving.client import PredictError, Query, QueryError, Recommendation, RecommendClient, TensorError

_HOPE = 2  # requests that may fail before one is answered


@dataclasses.dataclass
class Side:
    """What became of the requests to one server.

    Attributes:
      name: "stable" or "canary".
      client: that asks it.
      seconds: of each round, from question to answer; of a request that failed, until it did.
      failures: how many ended with each status code.
      versions: that answered.
      answers: by the number of the query, the first one.
    """

    name: str
    client: RecommendClient
    seconds: list[float] = dataclasses.field(default_factory=list)
    failures: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    versions: set[int] = dataclasses.field(default_factory=set)
    answers: dict[int, Recommendation] = dataclasses.field(default_factory=dict)

    @property
    def failed(self) -> int:
        """How many requests were not answered."""
        return sum(self.failures.values())

    def ask(self, number: int, query: Query) -> None:
        """Asks one query, alone in its request.

        Raises:
          UserError: the model has no place for what the query says.
        """
        start = time.perf_counter()
        try:
            (answer,) = self.client.recommend([query])
        except PredictError as error:
            self.failures[error.code.name] += 1
        except (QueryError, TensorError) as error:
            raise UserError(f"--{self.name} {self.client.address} does not take query {number}: {error}") from error
        else:
            self.versions.add(answer.model_version)
            self.answers.setdefault(number, answer)
        self.seconds.append(time.perf_counter() - start)


class Comparison:
    """Two servers under the same questions.

    Both are asked each query right after one another, in an order that is drawn anew each time: whatever else the
    machine and the network do happens to both.
    """

    def __init__(self, stable: RecommendClient, canary: RecommendClient, queries: Sequence[Query], seed: int) -> None:
        self.stable, self.canary = Side("stable", stable), Side("canary", canary)
        self._queries, self._rng = queries, random.Random(seed)
        self._order: list[int] = []

    @property
    def rounds(self) -> int:
        """How many times both were asked."""
        return len(self.stable.seconds)

    def warm_up(self, requests: int) -> None:
        """Requests that do not count: connections are made, caches filled.

        Raises:
          UserError: a server answers none of them.
        """
        for side in (self.stable, self.canary):
            answered = False
            for number in range(requests):
                error = _error(side, self._queries[number % len(self._queries)])
                answered = answered or error is None
                if number >= _HOPE and not answered:
                    raise UserError(f"--{side.name} cannot be compared: {error}")

    def ask(self, rounds: int) -> None:
        """Asks both `rounds` times, every query before any is asked again."""
        for _ in range(rounds):
            if not self._order:
                self._order = self._rng.sample(range(len(self._queries)), len(self._queries))
            number = self._order.pop()
            for side in self._rng.sample((self.stable, self.canary), 2):
                side.ask(number, self._queries[number])

    def require_two_versions(self) -> None:
        """Raises UserError unless each side was answered by one version, and they differ."""
        for side in (self.stable, self.canary):
            if len(side.versions) > 1:
                found = ", ".join(map(str, sorted(side.versions)))
                raise UserError(
                    f"--{side.name} {side.client.address} was answered by versions {found}; expected one: wait for"
                    " its rollout to end"
                )
        if self.stable.versions and self.stable.versions == self.canary.versions:
            (version,) = self.stable.versions
            raise UserError(
                f"--stable {self.stable.client.address} and --canary {self.canary.client.address} are both answered by"
                f" version {version}; expected the canary to be another"
            )


def _error(side: Side, query: Query) -> Exception | None:
    try:
        side.client.recommend([query])
    except (PredictError, QueryError, TensorError) as error:
        return error
    return None
