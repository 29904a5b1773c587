"""Posting lists turned round: from the items of each list to the lists of each item."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from beam_index.search_engine.levels import quantize
from protos.errors import UserError
from protos.postings import Postings


class ByItem(NamedTuple):
    """All postings, sorted by item, those of one item by ascending key. 5 bytes a posting.

    Attributes:
      keys: `[L]` int64, of the lists, ascending.
      scales: `[L]` float32, of the lists; 0 where a list is empty.
      offsets: `[I + 1]` int64; item `row` has the postings `offsets[row] .. offsets[row + 1] - 1`.
      lists: `[P]` int32, which of the L lists a posting is of.
      levels: `[P]` uint8; a posting's score is `scales[list] * level`.
    """

    keys: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray
    lists: np.ndarray
    levels: np.ndarray


def by_item(lists: Iterable[Postings], num_items: int) -> ByItem:
    """Quantises lists and sorts their postings by item.

    Holds about 30 bytes a posting while it works.

    Args:
      lists: by ascending key.
      num_items: I, of the catalogue.

    Raises:
      UserError: a row is not of the catalogue.
    """
    keys: list[int] = []
    scales: list[np.float32] = []
    rows: list[np.ndarray] = []
    levels: list[np.ndarray] = []
    for found in lists:
        of_list, scale = quantize(np.asarray(found.scores, np.float32))
        keys.append(found.key)
        scales.append(scale)
        rows.append(_checked(np.asarray(found.items, np.int32), found.key, num_items))
        levels.append(of_list)
    flat = _joined(rows, np.int32)
    order = np.argsort(flat, kind="stable")  # stable: an item's postings stay in the order of the keys
    offsets = np.zeros(num_items + 1, np.int64)
    np.cumsum(np.bincount(flat, minlength=num_items), out=offsets[1:])
    owners = np.repeat(np.arange(len(keys), dtype=np.int32), [len(part) for part in rows])
    return ByItem(
        keys=np.array(keys, np.int64),
        scales=np.array(scales, np.float32),
        offsets=offsets,
        lists=owners[order],
        levels=_joined(levels, np.uint8)[order],
    )


def _joined(parts: Sequence[np.ndarray], kind: type[np.generic]) -> np.ndarray:
    return np.concatenate([np.empty(0, kind), *parts])


def _checked(rows: np.ndarray, key: int, num_items: int) -> np.ndarray:
    wrong = rows[(rows < 0) | (rows >= num_items)]
    if len(wrong):
        raise UserError(
            f"list {key} of the index has row {wrong[0]}; rows of the catalogue are 0 to {num_items - 1};"
            " build the index again"
        )
    return rows
