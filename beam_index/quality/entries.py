"""The postings of queries within one tile of items."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from beam_index.geometry import Span
from beam_index.quality.lists import Lists


class Entries(NamedTuple):
    """Postings that queries look up in one tile.

    Attributes:
      query: `[N]` int64, position in the batch.
      token: `[N]` int64, which token looked it up.
      column: `[N]` int64, the item, counted from the first of the tile.
      scores: `[N]` float32, as stored.
    """

    query: np.ndarray
    token: np.ndarray
    column: np.ndarray
    scores: np.ndarray


class ByItem:
    """Posting lists sorted by item, so that the part of a list within a tile is one slice."""

    def __init__(self, lists: Lists, num_items: int) -> None:
        """Sorts a copy of `lists` of a catalogue of `num_items`."""
        places = np.repeat(np.arange(len(lists.keys)), np.diff(lists.offsets)) * num_items + lists.items
        order = np.argsort(places)
        self._keys = lists.keys
        self._num_items = num_items
        self._places = places[order]
        self._scores = lists.scores[order]

    def entries(self, keys: np.ndarray, items: Span) -> Entries:
        """The postings of the lists of `keys [B, K]` in one tile; a key without a list has none."""
        lists = np.searchsorted(self._keys, keys)
        known = np.append(self._keys, -1)[lists] == keys
        start, stop = (
            np.searchsorted(self._places, lists * self._num_items + bound) for bound in (items.start, items.stop)
        )
        lengths = np.where(known, stop - start, 0).ravel()
        owner = np.repeat(np.arange(lengths.size), lengths)
        # start + 0, 1, 2 .. within each slice
        position = np.arange(len(owner)) + np.repeat(start.ravel() - (np.cumsum(lengths) - lengths), lengths)
        query, token = np.divmod(owner, keys.shape[1])
        column = self._places[position] % self._num_items - items.start
        return Entries(query, token, column, self._scores[position])


def added(entries: Entries, weights: np.ndarray, width: int) -> np.ndarray:
    """Weighted postings of each item added up, in the order of the entries, in float32 as the servable does.

    Args:
      entries: of a tile.
      weights: `[B, K]` float32; what postings of a token count.
      width: items of the tile.

    Returns:
      `[B, width]` float32.
    """
    values = entries.scores * weights[entries.query, entries.token]
    sums = np.zeros(len(weights) * width, np.float32)
    np.add.at(sums, entries.query * width + entries.column, values)
    return sums.reshape(-1, width)
