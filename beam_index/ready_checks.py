"""What a ready list must be, and what is said of one that is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from protos.codes import CodeSpace

CURE = "export the model again"
_ROW_BITS = 32


class ListBatch(NamedTuple):
    """Consecutive ready lists.

    Attributes:
      keys: `[n]` int64.
      offsets: `[n + 1]`: list i has the items `offsets[i] .. offsets[i + 1] - 1`.
      score_offsets: `[n + 1]`: the same of its scores.
      items: `[p]` int32, catalogue rows.
      scores: `[p]` float32.
    """

    keys: np.ndarray
    offsets: np.ndarray
    score_offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray


def null_faults(table: pa.RecordBatch) -> Iterator[str]:
    """What is null in a table of keys, items and scores."""
    for name in table.schema.names:
        column = table[name]
        flat = column if name == "key" else column.flatten()
        if column.null_count or flat.null_count:
            values = zip(table["key"].to_pylist(), column.to_pylist(), strict=True)
            key = next(key for key, value in values if value is None or (name != "key" and None in value))
            yield f"list {key} has a null in its column {name!r}; expected none"


def faults(batch: ListBatch, previous: int, num_items: int, space: CodeSpace) -> Iterator[str]:
    """What is wrong with lists, in words. Made one by one: what comes after the first builds on sand.

    Args:
      batch: the lists.
      previous: the key before them; `space.size - 1` if they are the first.
      num_items: of the catalogue.
      space: the model's codes.
    """
    yield from _key_faults(batch.keys, previous, space)
    lengths, score_lengths = np.diff(batch.offsets), np.diff(batch.score_offsets)
    for at in np.flatnonzero(lengths != score_lengths):
        yield f"list {batch.keys[at]} has {lengths[at]} items and {score_lengths[at]} scores; expected one an item"
    owners = np.repeat(np.arange(len(lengths)), lengths)
    yield from _row_faults(batch, owners, num_items)
    yield from _score_faults(batch, owners)


def _key_faults(keys: np.ndarray, previous: int, space: CodeSpace) -> Iterator[str]:
    for key in keys[keys < space.size]:
        yield f"list {key} has a key below {space.size}: those are of codes, whose lists the build makes"
    before = np.concatenate([[previous], keys[:-1]])
    for at in np.flatnonzero(keys <= before):
        yield f"list {keys[at]} stands after list {before[at]}; keys must ascend"


def _row_faults(batch: ListBatch, owners: np.ndarray, num_items: int) -> Iterator[str]:
    for at in np.flatnonzero((batch.items < 0) | (batch.items >= num_items)):
        yield f"list {batch.keys[owners[at]]} has row {batch.items[at]}; rows of the catalogue are 0 to {num_items - 1}"
    pairs = np.sort(owners << _ROW_BITS | batch.items)
    for pair in pairs[1:][pairs[1:] == pairs[:-1]]:
        owner, row = divmod(int(pair), 1 << _ROW_BITS)
        yield f"list {batch.keys[owner]} has row {row} twice; expected each row once"


def _score_faults(batch: ListBatch, owners: np.ndarray) -> Iterator[str]:
    items, scores = batch.items, batch.scores
    for at in np.flatnonzero(~(np.isfinite(scores) & (scores > 0))):
        yield f"list {batch.keys[owners[at]]} has score {scores[at]} for row {items[at]}; expected finite and above 0"
    tied = (scores[1:] == scores[:-1]) & (items[1:] > items[:-1])
    for at in np.flatnonzero((owners[1:] == owners[:-1]) & ~(tied | (scores[1:] < scores[:-1]))):
        yield (
            f"list {batch.keys[owners[at]]} has row {items[at + 1]} of score {scores[at + 1]} after row {items[at]} of"
            f" score {scores[at]}; expected descending scores, ascending rows where they tie"
        )
