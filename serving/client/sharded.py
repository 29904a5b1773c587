"""A client of an index that is split by item into several servables: asks all of them and merges their best.

Each shard answers with its own best items, whose scores are whole: the sum over the tokens of a query stays inside a
shard. So the best of all answers are the best of the whole index. A shard that does not answer in time is left out,
and the answer says so.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from types import TracebackType
from typing import Generic, TypeVar

import grpc

from protos.errors import UserError
from serving.client.answers import Explanation, Recommendation
from serving.client.channel import PredictError
from serving.client.messages import DEFAULT_SIGNATURE
from serving.client.queries import Row, as_queries
from serving.client.sync import RecommendClient

DEFAULT_MAX_K = 1000  # of serving.export too
# Requests of one client that may be under way at once; more wait, and their time runs.
_REQUESTS_AT_ONCE = 16
# A request that one shard refuses for what it says, all would.
_REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)
_PER_ITEM = frozenset({"item_ids", "scores", "contributions"})
_Result = TypeVar("_Result")
_Answer = TypeVar("_Answer", Recommendation, Explanation)


@dataclasses.dataclass(frozen=True)
class ShardedAnswer(Generic[_Answer]):
    """What all shards together answered to a batch.

    Attributes:
      answers: one a query.
      missing_shards: number of each shard whose items are not in them, and why. Empty: the answers are whole.
    """

    answers: list[_Answer]
    missing_shards: Mapping[int, str]


class ShardedClient:
    """Asks the shards of one index at once, from as many threads as you like.

    A shard that is down is asked anew as `RecommendClient` does, and all wait for it as long as that takes or the
    timeout allows.

    Example:
      with ShardedClient([RecommendClient(address) for address in ("shard-0:8500", "shard-1:8500")]) as client:
          found = client.recommend([["1", "260"], Query(["527"], k=10)], timeout=0.05)
          print(found.answers, found.missing_shards)
    """

    def __init__(self, shards: Sequence[RecommendClient], max_k: int = DEFAULT_MAX_K) -> None:
        """Connects with the first call.

        Args:
          shards: a client of each shard, in the order of their numbers, which is the order of items that tie; the
            timeout of the first is that of all. They are closed with this one.
          max_k: items that a shard returns at most, as it was exported. Past the `max_k` best of all shards, one of
            them may have items that it did not return.
        """
        self._shards = tuple(shards)
        self._max_k = max_k
        self._default_k: int | None = None
        self._pool = ThreadPoolExecutor(_REQUESTS_AT_ONCE * len(self._shards), "shard")

    def close(self) -> None:
        """Closes the clients; calls under way are cancelled."""
        for shard in self._shards:
            shard.close()
        self._pool.shutdown()

    def __enter__(self) -> ShardedClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def recommend(
        self, queries: Sequence[Row], version: int | None = None, timeout: float | None = None
    ) -> ShardedAnswer[Recommendation]:
        """Recommendations for a batch of queries, in one request to every shard.

        Scores of different versions do not compare: where shards answer with different ones, those of the version
        that most have (the newer of two) are merged, and the others are missing.

        Args:
          queries: as `RecommendClient.recommend` takes them.
          version: of all shards; None is the newest of each.
          timeout: seconds for everything; None is the first client's.

        Raises:
          PredictError: no shard answered, or one refused the request for what it says.
          UserError: two shards have the same item, so that they are not shards of one index.
          QueryError, TensorError: as `RecommendClient.recommend`.
        """
        return self._merged(lambda shard, left: shard.recommend(queries, version, left), queries, timeout)

    def explain(
        self, queries: Sequence[Row], version: int | None = None, timeout: float | None = None
    ) -> ShardedAnswer[Explanation]:
        """As `recommend`, with what each token and each event added to every score."""
        return self._merged(lambda shard, left: shard.explain(queries, version, left), queries, timeout)

    def _merged(
        self,
        ask: Callable[[RecommendClient, float], list[_Answer]],
        queries: Sequence[Row],
        timeout: float | None,
    ) -> ShardedAnswer[_Answer]:
        if not queries:
            return ShardedAnswer([], {})
        deadline = time.monotonic() + (self._shards[0].timeout if timeout is None else timeout)
        limits = self._limits(queries, deadline)
        answers, missing = _results(self._submit(lambda shard: ask(shard, deadline - time.monotonic())))
        versions = {number: answer[0].model_version for number, answer in answers.items()}
        merged_version = _most_frequent(versions.values())
        for number, found in versions.items():
            if found != merged_version:
                missing[number] = f"it answered with version {found}, others with {merged_version}"
                del answers[number]
        rows = zip(*answers.values(), strict=True)
        merged = [merge(row, limit) for row, limit in zip(rows, limits, strict=True)]
        return ShardedAnswer(merged, dict(sorted(missing.items())))

    def _limits(self, queries: Sequence[Row], deadline: float) -> list[int]:
        """How many items each query is answered: more of all shards would not be what one index returns."""
        asked = [query.k for query in as_queries(queries)]
        default = self._find_default_k(deadline) if None in asked else 0
        return [default if k is None else min(max(k, 0), self._max_k) for k in asked]

    def _find_default_k(self, deadline: float) -> int:
        """How many items a shard was exported to return, as the first to answer says."""
        if self._default_k is None:
            calls = self._submit(lambda shard: shard.metadata(deadline - time.monotonic()))
            done = next((call for call in as_completed(calls) if call.exception() is None), calls[0])
            self._default_k = done.result().signatures[DEFAULT_SIGNATURE].outputs["item_ids"].shape[1]
        return self._default_k

    def _submit(self, call: Callable[[RecommendClient], _Result]) -> list[Future[_Result]]:
        return [self._pool.submit(call, shard) for shard in self._shards]


def _results(calls: Sequence[Future[_Result]]) -> tuple[dict[int, _Result], dict[int, str]]:
    """What the calls returned, by their number, and of those that failed why; at least one has not.

    Raises:
      PredictError: all failed, or one in a way in which all would.
    """
    results, failures = {}, {}
    for number, call in enumerate(calls):
        try:
            results[number] = call.result()
        except PredictError as error:
            if error.code in _REFUSED:
                raise
            failures[number] = error
    if not results:
        raise failures[0]
    return results, {number: str(error) for number, error in failures.items()}


def merge(answers: Sequence[_Answer], k: int) -> _Answer:
    """The best `k` of the answers of shards to one query, given in the order of shards.

    Items of equal score stand in the order of shards, and within one as they were answered: by ascending row.

    Raises:
      UserError: two answers have the same item.
    """
    places = ([(answer, place) for place in range(len(answer.scores))] for answer in answers)
    merged = heapq.merge(*places, key=lambda at: -at[0].scores[at[1]])
    best = list(itertools.islice(merged, k))
    per_item = [field.name for field in dataclasses.fields(answers[0]) if field.name in _PER_ITEM]
    found = {name: tuple(getattr(answer, name)[place] for answer, place in best) for name in per_item}
    item_id, count = Counter(found["item_ids"]).most_common(1)[0] if best else ("", 1)
    if count > 1:
        raise UserError(
            f"two shards returned item {item_id!r}: an item is in one shard of an index; give the address of each"
            " shard once, all of the same index"
        )
    return dataclasses.replace(answers[0], **found)


def _most_frequent(versions: Iterable[int]) -> int:
    counts = Counter(versions)
    return max(counts, key=lambda version: (counts[version], version))
