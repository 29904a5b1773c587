"""The item memory: which items follow an item, in closed form; the lists of event tokens.

The last H events of a history are query tokens of their own. Their code is the item itself, so
nothing is lost in quantisation, and the list of a code holds what the training sequences say of what
follows that item. With x_t the recent past at position t and y_t the near future,

    x_t = sum_l 2^(-l / half_life) e(item t - l)        l = 0 .. H - 1
    y_t = sum_s horizon_decay^(s - 1) e(item t + s)     s = 1 .. horizon

a linear map from one to the other is fitted by ridge regression with an intercept a,

    W = argmin sum_t || y_t - a - W' x_t ||^2 + l2 || W ||^2 = (X'X + l2)^-1 X'Y  (X, Y centred)

(in the family of Choi et al., "Session-aware Linear Item-Item Models", WWW 2021, and Steck, "Embarrassingly
Shallow Autoencoders", WWW 2019). Kept of each row are its best entries, less the score of the next best
and never below 0: a list is sparse from the start, and what is missing in it really is 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse

from trainer.config import MemoryConfig
from trainer.layers.tokenizers import PADDING
from trainer.windows import rows_of

_ROWS_AT_ONCE = 1024


class ItemLists(NamedTuple):
    """What each item says of the next ones: a list for every row of the catalogue, many of them empty.

    Attributes:
      items: `[I, L]` int32 rows, by descending score, then ascending row; -1 fills up short lists.
      scores: `[I, L]` float32, > 0; 0 where there is no item.
    """

    items: np.ndarray
    scores: np.ndarray


def no_lists() -> ItemLists:
    """The lists of no items."""
    return ItemLists(np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32))


def fit_lists(
    pieces: Iterable[np.ndarray], num_items: int, config: MemoryConfig, num_targets: int | None = None
) -> ItemLists:
    """Fits the lists to training windows.

    Memory is 8 m^2 bytes and time grows with m^3, m being the smaller of num_items and max_items; items
    beyond the max_items most frequent ones neither have a list nor are in one.

    Args:
      pieces: of the windows, each `[W, T + 1]` int32 from training_windows, or with context; gone through twice.
      num_items: I.
      config: sizes and strengths.
      num_targets: only items of smaller rows take part; all by default.
    """
    counts = np.zeros(num_items, np.int64)
    for windows in map(rows_of, pieces):
        counts += np.bincount(windows[windows != PADDING], minlength=num_items)
    kept = np.sort(np.argsort(-counts[:num_targets], kind="stable")[: config.max_items])
    place = np.full(num_items + 1, PADDING, np.int32)  # the last entry is what padding (-1) indexes
    place[kept] = np.arange(len(kept))
    moments = _Moments(len(kept))
    for windows in map(rows_of, pieces):
        moments.add(*_past_and_future(place[windows], len(kept), config))
    return _best(moments.ridge(config.l2), kept, num_items, config.list_length)


def _past_and_future(
    windows: np.ndarray, num_items: int, config: MemoryConfig
) -> tuple[scipy.sparse.csr_array, scipy.sparse.csr_array]:
    """X and Y, `[N, m]` each: a row for every event that is predicted; the first of a sequence has an empty past."""
    context = windows[:, :-1]
    positions = np.flatnonzero((windows[:, 1:] != PADDING).ravel())
    length = context.shape[1]

    def gather(offsets: range, values: np.ndarray) -> scipy.sparse.csr_array:
        rows, columns, weights = [], [], []
        window, place = np.divmod(positions, length)
        for offset, value in zip(offsets, values, strict=True):
            at = place + offset
            inside = (at >= 0) & (at <= length)
            items = windows[window[inside], at[inside]]
            present = items != PADDING
            rows.append(np.flatnonzero(inside)[present])
            columns.append(items[present])
            weights.append(np.full(int(present.sum()), value, np.float32))
        entries = (np.concatenate(rows), np.concatenate(columns))
        return scipy.sparse.csr_array((np.concatenate(weights), entries), shape=(len(positions), num_items))

    past = gather(range(0, -config.num_events, -1), 0.5 ** (np.arange(config.num_events) / config.half_life))
    future = gather(range(1, config.horizon + 1), config.horizon_decay ** np.arange(config.horizon))
    return past, future


class _Moments:
    """Sums over events of all that the regression needs of X and Y, piece by piece."""

    def __init__(self, size: int) -> None:
        self._count = 0
        self._past, self._future = np.zeros(size, np.float32), np.zeros(size, np.float32)
        self._gram, self._cross = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)

    def add(self, past: scipy.sparse.csr_array, future: scipy.sparse.csr_array) -> None:
        """Adds the events of a piece: rows of X and Y, `[N, m]` each."""
        self._count += past.shape[0]
        self._past += past.sum(axis=0)
        self._future += future.sum(axis=0)
        for total, product in ((self._gram, past.T @ past), (self._cross, past.T @ future)):
            # No dense copy of the product, which a catalogue of many items could not hold beside the sums.
            entries = product.tocoo()
            total[entries.row, entries.col] += entries.data

    def ridge(self, l2: float) -> np.ndarray:
        """W `[m, m]` float32; the sums are used up."""
        count = max(self._count, 1)
        mean_past, mean_future = self._past / count, self._future / count
        self._gram -= np.outer(count * mean_past, mean_past)
        self._gram[np.diag_indices_from(self._gram)] += l2
        self._cross -= np.outer(count * mean_past, mean_future)
        return scipy.linalg.solve(self._gram, self._cross, assume_a="pos", overwrite_a=True, overwrite_b=True)


def _best(weights: np.ndarray, kept: np.ndarray, num_items: int, list_length: int) -> ItemLists:
    """The lists of the kept items, with a threshold subtracted from each."""
    width = min(list_length, len(kept))
    lists = ItemLists(np.full((num_items, width), PADDING, np.int32), np.zeros((num_items, width), np.float32))
    for start in range(0, len(kept), _ROWS_AT_ONCE):
        rows = weights[start : start + _ROWS_AT_ONCE].copy()
        np.fill_diagonal(rows[:, start:], 0.0)  # what was just taken is not recommended
        order = np.argsort(-rows, axis=1, kind="stable")[:, : width + 1]
        best = np.maximum(np.take_along_axis(rows, order, axis=1), 0.0)
        threshold = best[:, width:] if best.shape[1] > width else np.zeros((len(best), 1), np.float32)
        scores, items = np.maximum(best[:, :width] - threshold, 0.0), order[:, :width]
        # Scores that differed can be equal with the threshold off: ties go to the smaller row again.
        again = np.lexsort((items, -scores), axis=1)
        scores, items = (np.take_along_axis(values, again, axis=1) for values in (scores, items))
        at = kept[start : start + _ROWS_AT_ONCE]
        lists.items[at] = np.where(scores > 0, kept[items], PADDING)
        lists.scores[at] = scores
    return lists
