"""A served model as a ranker: evaluation asks the same gRPC endpoint that a frontend would."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np

from protos.query_inputs import HISTORY, QueryInput, tensors
from serving.client import RecommendClient
from trainer.data.features import NO_COLUMNS, FeatureColumns
from trainer.exported_queries import feature_columns

_MILLISECONDS = 1000.0
_OUTPUTS = ("item_ids", "scores", "valid", "codes", "fallback")
# Histories are filled up to a multiple of it: nearly all requests have one shape.
_WIDTH = 64


class ServedRanker:
    """Ranks by asking a server, and keeps what it saw of unknown codes.

    Args:
      client: connected to a served SparCode model that leaves out what the history holds.
      item_ids: public id of each catalogue row.
      inputs: what the model's queries bring beside their histories.
      columns: of the data, where it is found.
    """

    def __init__(
        self,
        client: RecommendClient,
        item_ids: Sequence[str],
        inputs: Sequence[QueryInput] = (),
        columns: FeatureColumns = NO_COLUMNS,
    ) -> None:
        self._client, self._inputs, self._columns = client, inputs, columns
        self._ids = np.asarray(item_ids, dtype=object)
        self._rows = {item: row for row, item in enumerate(item_ids)}
        self._tokens = self._fallbacks = 0

    def __call__(self, histories: Sequence[np.ndarray], k: int) -> np.ndarray:
        """Rows of the k best items `[B, k]` int32; -1 where the server had fewer."""
        answers = self.answers(histories)
        ranked = np.full((len(histories), k), -1, np.int32)
        for place, (items, valid) in enumerate(zip(answers["item_ids"], answers["valid"], strict=True)):
            rows = [self._rows[item.decode()] for item in items[valid][:k]]
            ranked[place, : len(rows)] = rows
        self._tokens += answers["codes"].shape[0] * answers["codes"].shape[1]
        self._fallbacks += int(answers["fallback"].sum())  # never of events, whose code is the item itself
        return ranked

    def answers(self, histories: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs item_ids, scores, valid, codes and fallback of `serving_default`, asked in one request."""
        return self._client.predict(self._requested(histories), output_filter=_OUTPUTS)

    def _requested(self, histories: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs of a request: ids, and what the data knows of events and users."""
        features = feature_columns(self._inputs, histories, self._columns)
        columns = {name: column.to_pylist() for name, column in features.items()}
        longest = max(map(len, histories), default=0)
        width = _WIDTH * max(1, -(-longest // _WIDTH))
        return tensors({HISTORY: [list(self._ids[rows]) for rows in histories], **columns}, self._inputs, width)

    @property
    def unknown_code_rate(self) -> float:
        """Share of the quantised tokens asked so far whose own code had no list."""
        return self._fallbacks / max(self._tokens, 1)

    def median_latency_ms(self, histories: Sequence[np.ndarray]) -> float:
        """Median milliseconds of one request with one history, measured at the client."""
        seconds = []
        for place in range(len(histories)):
            inputs = self._requested(histories[place : place + 1])
            start = time.perf_counter()
            self._client.predict(inputs, output_filter=_OUTPUTS)
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds) * _MILLISECONDS
