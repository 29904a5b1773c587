"""A client of an index that is split by item into several servables: asks all, merges their best, needs no TensorFlow.

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
from typing import TypeVar

import grpc

from protos.errors import UserError
from serving.client import PredictError, RecommendClient
from serving.messages import DEFAULT_SIGNATURE, Recommendation

# Requests of one client that may be under way at once; more wait, and their time runs.
_REQUESTS_AT_ONCE = 16
# A request that one shard refuses for what it says, all would.
_REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class ShardedAnswer:
    """What all shards together answered to a batch.

    Attributes:
      recommendations: one a history.
      missing_shards: number of each shard whose items are not in them, and why. Empty: the answer is whole.
    """

    recommendations: list[Recommendation]
    missing_shards: Mapping[int, str]


class ShardedClient:
    """Asks the shards of one index at once, from as many threads as you like.

    Example:
      with ShardedClient([RecommendClient(address) for address in ("10.0.0.1:8500", "10.0.0.2:8500")]) as client:
          answer = client.recommend([["1", "260"], ["527"]], timeout=0.05)
          print(answer.recommendations, answer.missing_shards)
    """

    def __init__(self, shards: Sequence[RecommendClient]) -> None:
        """Connects with the first call.

        Args:
          shards: a client of each shard, in the order of their numbers, which is the order of items that tie; the
            timeout of the first is that of all. They are closed with this one.
        """
        self._shards = tuple(shards)
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
        self, histories: Sequence[Sequence[str]], version: int | None = None, timeout: float | None = None
    ) -> ShardedAnswer:
        """Recommendations for a batch of histories.

        Scores of different versions do not compare: where shards answer with different ones, those of the version
        that most have (the newer of two) are merged, and the others are missing.

        Args:
          histories: as `RecommendClient.recommend` takes them.
          version: of all shards; None is the newest of each.
          timeout: seconds for everything; None is the first client's.

        Raises:
          PredictError: no shard answered, or one refused the request for what it says.
          UserError: two shards have the same item, so that they are not shards of one index.
        """
        if not histories:
            return ShardedAnswer([], {})
        deadline = time.monotonic() + (self._shards[0].timeout if timeout is None else timeout)
        k = self._find_default_k(deadline)
        calls = self._submit(lambda shard: shard.recommend(histories, version, deadline - time.monotonic()))
        answers, missing = _results(calls)
        versions = {number: answer[0].model_version for number, answer in answers.items()}
        merged_version = _most_frequent(versions.values())
        for number, found in versions.items():
            if found != merged_version:
                missing[number] = f"it answered with version {found}, others with {merged_version}"
                del answers[number]
        merged = [merge(row, k) for row in zip(*answers.values(), strict=True)]
        return ShardedAnswer(merged, dict(sorted(missing.items())))

    def _find_default_k(self, deadline: float) -> int:
        """How many items a shard was exported to return, as the first to answer says.

        More of all shards together would not be what one index returns.
        """
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


def merge(answers: Sequence[Recommendation], k: int) -> Recommendation:
    """The best `k` of the answers of shards to one history, given in the order of shards.

    Items of equal score stand in the order of shards, and within one as they were answered: by ascending row.

    Raises:
      UserError: two answers have the same item.
    """
    pairs = (zip(answer.item_ids, answer.scores, strict=True) for answer in answers)
    best = list(itertools.islice(heapq.merge(*pairs, key=lambda pair: -pair[1]), k))
    item_ids = tuple(item_id for item_id, _ in best)
    if len(set(item_ids)) < len(item_ids):
        twice = next(item_id for item_id, count in Counter(item_ids).items() if count > 1)
        raise UserError(
            f"two shards returned item {twice!r}: an item is in one shard of an index; give the address of each shard"
            " once, all of the same index"
        )
    return dataclasses.replace(answers[0], item_ids=item_ids, scores=tuple(score for _, score in best))


def _most_frequent(versions: Iterable[int]) -> int:
    counts = Counter(versions)
    return max(counts, key=lambda version: (counts[version], version))
