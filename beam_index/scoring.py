"""Scores of one tile: some codes against some consecutive items, always in calls of one shape."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from beam_index.geometry import CALL_ITEMS, CHUNK_CODES, Span
from beam_index.plan import Plan
from beam_index.saved_model import Signature
from protos.errors import UserError


class Scorer:
    """The export's scorer. One serves all threads of a process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._score = Signature(os.path.join(plan.model, "scorer"), inputs=("keys", "items"), output="scores")
        # A call runs in its caller's thread (see Signature), so the cores are filled by many calls.
        self._callers = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="score")

    def score(self, keys: np.ndarray, items: Span) -> np.ndarray:
        """Scores S before bias and relu.

        Args:
          keys: `[n]` int64, 1 to CHUNK_CODES code keys.
          items: catalogue rows.

        Returns:
          `[n, items.width]` float32. A pair's bits depend only on its place in its chunk of codes
          and in its call's items, not on how many others there are: short calls are filled up.

        Raises:
          UserError: a score is not finite, or the scorer gave another shape than it should.
        """
        padded_keys = np.resize(keys, CHUNK_CODES)
        scores = np.empty((len(keys), items.width), np.float32)

        def fill(first: int) -> None:
            rows = np.arange(items.start + first, items.start + first + CALL_ITEMS, dtype=np.int32)
            part = self._call(padded_keys, np.minimum(rows, items.stop - 1))
            scores[:, first : first + CALL_ITEMS] = part[: len(keys), : items.width - first]

        list(self._callers.map(fill, range(0, items.width, CALL_ITEMS)))  # the list raises what a call raised
        self._require_finite(scores, keys, items)
        return scores

    def _call(self, keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
        scores = self._score(keys, rows)
        if scores.shape != (len(keys), len(rows)) or scores.dtype != np.float32:
            raise UserError(
                f"the scorer of {self._plan.model} gave {scores.dtype} {list(scores.shape)} for {len(keys)} codes and"
                f" {len(rows)} items; expected float32 [codes, items]; export the model again"
            )
        return scores

    def _require_finite(self, scores: np.ndarray, keys: np.ndarray, items: Span) -> None:
        finite = np.isfinite(scores)
        if finite.all():
            return
        code, column = np.argwhere(~finite)[0]
        pair = self._plan.describe_pair(int(keys[code]), int(items.start + column))
        raise UserError(
            f"the scorer of {self._plan.model} gave {scores[code, column]} for {pair}; scores must be finite:"
            " look for weights that diverged in training, and export the model again"
        )
