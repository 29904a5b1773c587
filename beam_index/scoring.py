"""Scores of codes and items, made in stages and always in calls of one shape."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence

import numpy as np

from beam_index.geometry import CALL_ITEMS, CHUNK_CODES, call_width, tile_span
from beam_index.plan import Plan
from beam_index.saved_model import SavedModel
from protos.errors import UserError

# Tensors `[C, ...]` of codes or `[I, ...]` of items: all that their scores need of them.
Parts = tuple[np.ndarray, ...]

# Items' parts that are kept for the next chunk of codes.
_CACHE_BYTES = 256 << 20

_SHARING = threading.Lock()
_shared: dict[tuple, Scorer] = {}


class Scorer:
    """The export's scorer. One serves all threads of a process.

    A scorer whose export has the stages `codes`, `items` and `pairs` makes what a code and what an item needs
    once, and pays only the rest for a pair. Without them, the parts of codes and items are their keys and rows.

    Attributes:
      has_stages: whether parts of items are what their scores depend on, not only their rows.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        model = SavedModel(os.path.join(plan.model, "scorer"))
        self.has_stages = model.names("pairs") is not None
        self._codes, self._items, self._pairs = _stages(model)
        self._lock = threading.Lock()
        one = self._make_item_parts(0)
        tiles = max(1, _CACHE_BYTES // sum(part.nbytes for part in one))
        self._cached = functools.lru_cache(tiles)(self._make_item_parts)

    def require_stages(self, need: str) -> None:
        """Raises UserError where parts of items are but their rows; `need` says who needs more."""
        if not self.has_stages:
            raise UserError(
                f"the scorer of {self._plan.model} has no signature 'items', which {need}; export the model again"
            )

    def code_parts(self, keys: np.ndarray) -> Parts:
        """The parts of 1 to CHUNK_CODES code keys `[n]`: tensors `[CHUNK_CODES, ...]`, filled up with repetitions."""
        return tuple(self._codes(np.resize(keys, CHUNK_CODES)))

    def item_parts(self, tile: int) -> Parts:
        """The parts of a tile: tensors `[w, ...]`, filled up to whole calls by repeating the last item."""
        with self._lock:  # who comes second finds what the first has made
            return self._cached(tile)

    def _make_item_parts(self, tile: int) -> Parts:
        items = tile_span(tile, self._plan.num_items)
        rows = np.arange(items.start, items.start + call_width(items.width), dtype=np.int32)
        return tuple(self._items(self._without_removed(np.minimum(rows, items.stop - 1))))

    def _without_removed(self, rows: np.ndarray) -> np.ndarray:
        """Rows `[n]`, a stand-in for removed ones: their scores count nothing, and what is not finite would spread."""
        stand_in = np.flatnonzero(~np.isin(np.arange(len(self._plan.removed) + 1), self._plan.removed))[0]
        stand_in = min(int(stand_in), self._plan.num_items - 1)
        return np.where(np.isin(rows, self._plan.removed), np.int32(stand_in), rows).astype(np.int32)

    def scores(self, codes: Parts, items: Parts, width: int) -> np.ndarray:
        """S before bias and relu, of some codes with the first of some items.

        A pair's bits depend only on its place among the codes and in its call's items, not on how many
        others there are: who calls always gives as many codes.

        Args:
          codes: tensors `[n, ...]`.
          items: tensors `[w, ...]`; cut into calls of CALL_ITEMS, of which w is a multiple where the call counts.
          width: of the result.

        Returns:
          `[n, width]` float32.

        Raises:
          UserError: the scorer gave another shape than it should.
        """
        scores = np.empty((len(codes[0]), len(items[0])), np.float32)
        for first in range(0, width, CALL_ITEMS):
            span = slice(first, first + CALL_ITEMS)
            scores[:, span] = self._call(codes, cut(items, span))
        return scores[:, :width]

    def _call(self, codes: Parts, items: Parts) -> np.ndarray:
        (scores,) = self._pairs(*codes, *items)
        expected = len(codes[0]), len(items[0])
        if scores.shape != expected or scores.dtype != np.float32:
            raise UserError(
                f"the scorer of {self._plan.model} gave {scores.dtype} {list(scores.shape)} for {expected[0]} codes and"
                f" {expected[1]} items; expected float32 [codes, items]; export the model again"
            )
        return scores

    def require_finite(self, scores: np.ndarray, keys: np.ndarray, rows: Sequence[int]) -> None:
        """Raises UserError, naming the pair, unless all scores `[n, w]` of keys `[n]` and rows `[w]` are finite."""
        if np.isfinite(scores.min()) and np.isfinite(scores.max()):  # NaN passes through both
            return
        code, column = np.argwhere(~np.isfinite(scores))[0]
        pair = self._plan.describe_pair(int(keys[code]), int(rows[column]))
        raise UserError(
            f"the scorer of {self._plan.model} gave {scores[code, column]} for {pair}; scores must be finite:"
            " look for weights that diverged in training, and export the model again"
        )


def shared_scorer(plan: Plan) -> Scorer:
    """The scorer of a plan, loaded once a process and kept for the steps of a build that follow one another."""
    key = plan.model, plan.fingerprint, plan.removed.tobytes()
    with _SHARING:
        if key not in _shared:
            _shared.clear()
            _shared[key] = Scorer(plan)
        return _shared[key]


def cut(parts: Parts, at: slice | np.ndarray) -> Parts:
    """The parts of some of the codes or items."""
    return tuple(part[at] for part in parts)


def _stages(model: SavedModel) -> tuple:
    """The functions keys -> codes' parts, rows -> items' parts, and parts -> scores."""
    if model.names("pairs") is None:
        return (lambda keys: [keys]), (lambda rows: [rows]), model.signature(["keys", "items"], ["scores"])
    code_names, item_names = (model.names(stage)[1] for stage in ("codes", "items"))
    return (
        model.signature(["keys"], code_names, "codes"),
        model.signature(["items"], item_names, "items"),
        model.signature([*code_names, *item_names], ["scores"], "pairs"),
    )
