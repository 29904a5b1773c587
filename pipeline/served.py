"""A served model as a ranker: evaluation asks the same gRPC endpoint that a frontend would."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np

from serving.client import RecommendClient

_MILLISECONDS = 1000.0


class ServedRanker:
    """Ranks by asking a server, and keeps what it saw of unknown codes.

    Args:
      client: connected to a served SparCode model that leaves out what the history holds.
      item_ids: public id of each catalogue row.
    """

    def __init__(self, client: RecommendClient, item_ids: Sequence[str]) -> None:
        self.client = client
        self._ids = np.asarray(item_ids, dtype=object)
        self._rows = {item: row for row, item in enumerate(item_ids)}
        self._tokens = self._fallbacks = 0

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> np.ndarray:
        """Rows of the k best items `[B, k]` int32; -1 where the server had fewer."""
        answers = self.client.recommend([list(self._ids[history]) for history in histories])
        ranked = np.full((len(histories), k), -1, np.int32)
        for place, answer in enumerate(answers):
            rows = [self._rows[item] for item in answer.item_ids[:k]]
            ranked[place, : len(rows)] = rows
            self._tokens += len(answer.codes)  # not the events, whose code is the item itself
            self._fallbacks += int(np.sum(answer.fallback))
        return ranked

    @property
    def unknown_code_rate(self) -> float:
        """Share of the quantised tokens asked so far whose own code had no list."""
        return self._fallbacks / max(self._tokens, 1)

    def median_latency_ms(self, histories: Sequence[np.ndarray]) -> float:
        """Median milliseconds of one request with one history, measured at the client."""
        seconds = []
        for history in histories:
            items = list(self._ids[history])
            start = time.perf_counter()
            self.client.recommend([items])
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds) * _MILLISECONDS
