"""Scores of posting lists, whole or compact: what the index build writes and the serving export reads."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np

from protos.errors import UserError
from protos.index_pb2 import PostingList

# Bits of a stored score: 32 is a float, fewer are levels of the list's scale.
SCORE_BITS = (8, 16, 32)
_LEVEL_TYPES = {1: np.dtype("u1"), 2: np.dtype("<u2")}
_ROWS = np.dtype("<u4")
# Rows below this take three bytes.
_SMALL_ROWS = 2**24


class Postings(NamedTuple):
    """A posting list, decoded.

    Attributes:
      key: of the list.
      threshold: see PostingList.
      items: `[P]` int32 catalogue rows, by descending score, then ascending row.
      scores: `[P]` float32, all > 0.
    """

    key: int
    threshold: float
    items: np.ndarray
    scores: np.ndarray


def row_bytes(greatest: int) -> int:
    """Bytes of each row of a compact list, by the greatest of them."""
    return 3 if greatest < _SMALL_ROWS else 4


def encode(postings: Postings, bits: int) -> PostingList:
    """The message of a list, its scores in `bits` bits.

    Compact scores are level * scale, scale being the best score / (2^bits - 1), level the nearest that is at least 1:
    no posting vanishes. Items whose levels tie are put in the order of their rows.
    """
    message = PostingList(key=postings.key, threshold=postings.threshold)
    if bits == 32 or not len(postings.items):
        message.items.extend(postings.items.tolist())
        message.scores.extend(postings.scores.tolist())
        return message
    kind, top = _LEVEL_TYPES[bits // 8], np.float32(2**bits - 1)
    scale = max(postings.scores[0] / top, np.finfo(np.float32).smallest_normal)
    levels = np.clip(np.rint(postings.scores / scale), 1, top).astype(kind)
    order = np.lexsort((postings.items, -levels.astype(np.int32)))
    rows = postings.items[order].astype(_ROWS)
    message.scale, message.levels, message.level_bytes = scale, levels[order].tobytes(), kind.itemsize
    message.row_bytes = row_bytes(rows.max())
    message.rows = rows.view(np.uint8).reshape(-1, 4)[:, : message.row_bytes].tobytes()
    return message


def decode(message: PostingList, index: str | os.PathLike[str]) -> Postings:
    """The list of a message out of an index.

    Raises:
      UserError: it has not one finite score above 0 an item.
    """
    items, scores = _compact(message) if message.level_bytes else _whole(message)
    if len(items) != len(scores) or not bool((np.isfinite(scores) & (scores > 0)).all()):
        raise UserError(
            f"index {index} contradicts itself: list {message.key} has {len(items)} items and {len(scores)} scores,"
            " expected one finite score above 0 for each item; build the index again"
        )
    return Postings(message.key, message.threshold, items, scores)


def _whole(message: PostingList) -> tuple[np.ndarray, np.ndarray]:
    return np.array(message.items, np.int32), np.array(message.scores, np.float32)


def _compact(message: PostingList) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores; none of what is not whole numbers of its size."""
    kind, width = _LEVEL_TYPES.get(message.level_bytes), message.row_bytes
    if kind is None or width not in (3, 4) or len(message.levels) % kind.itemsize or len(message.rows) % width:
        return np.zeros(1, np.int32), np.zeros(0, np.float32)
    rows = np.zeros((len(message.rows) // width, 4), np.uint8)
    rows[:, :width] = np.frombuffer(message.rows, np.uint8).reshape(-1, width)
    scores = np.frombuffer(message.levels, kind).astype(np.float32) * np.float32(message.scale)
    return rows.view(_ROWS)[:, 0].astype(np.int32), scores
