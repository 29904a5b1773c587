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


def encode(postings: Postings, bits: int) -> PostingList:
    """The message of a list, its scores in `bits` bits.

    Compact scores are level * scale, scale being the best score / (2^bits - 1), level the nearest that is at least 1:
    no posting vanishes. Items whose levels tie are put in the order of their rows.
    """
    message = PostingList(key=postings.key, threshold=postings.threshold)
    items = postings.items
    if bits == 32 or not len(items):
        message.scores.extend(postings.scores.tolist())
    else:
        kind, top = _LEVEL_TYPES[bits // 8], np.float32(2**bits - 1)
        scale = max(postings.scores[0] / top, np.finfo(np.float32).smallest_normal)
        levels = np.clip(np.rint(postings.scores / scale), 1, top).astype(kind)
        order = np.lexsort((items, -levels.astype(np.int32)))
        items = items[order]
        message.scale, message.levels = scale, levels[order].tobytes()
    message.items.extend(items.tolist())
    return message


def decode(message: PostingList, index: str | os.PathLike[str]) -> Postings:
    """The list of a message out of an index.

    Raises:
      UserError: it has not one finite score above 0 an item.
    """
    items = np.array(message.items, np.int32)
    scores = _scores(message, len(items))
    if scores is None:
        fault = f"{len(items)} items and {len(message.levels)} bytes of scores, expected one or two bytes an item"
    elif len(items) != len(scores) or not bool((np.isfinite(scores) & (scores > 0)).all()):
        fault = f"{len(items)} items and {len(scores)} scores, expected one finite score above 0 for each item"
    else:
        return Postings(message.key, message.threshold, items, scores)
    raise UserError(f"index {index} contradicts itself: list {message.key} has {fault}; build the index again")


def _scores(message: PostingList, count: int) -> np.ndarray | None:
    if not message.levels:
        return np.array(message.scores, np.float32)
    kind = _LEVEL_TYPES.get(len(message.levels) // max(count, 1))
    if kind is None or len(message.levels) != count * kind.itemsize:
        return None
    return np.frombuffer(message.levels, kind).astype(np.float32) * np.float32(message.scale)
