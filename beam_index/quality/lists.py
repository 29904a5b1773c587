"""Posting lists as arrays: read from an index or an export as far as a sample needs them, or made in memory."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_index.dead_letters import DeadLetter
from beam_index.parquet import open_parquet
from beam_index.reader import posting_lists

# Ready lists held at once while the wanted ones are picked.
_BATCH_LISTS = 4096


class Lists(NamedTuple):
    """Some posting lists.

    Attributes:
      keys: `[C]` int64, ascending.
      offsets: `[C + 1]` int64; list `c` has the postings `offsets[c]` to `offsets[c + 1] - 1`.
      items: `[P]` int32 catalogue rows, in any order within a list.
      scores: `[P]` float32, all > 0.
    """

    keys: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    scores: np.ndarray


class Overview(NamedTuple):
    """All lists of an index, without their postings.

    Attributes:
      keys: `[C]` int64, ascending.
      lengths: `[C]` int64; a list may be empty.
      in_code_list: `[I]` bool, items in a list of a code.
      in_any_list: `[I]` bool, items in a list of a code or a ready list.
    """

    keys: np.ndarray
    lengths: np.ndarray
    in_code_list: np.ndarray
    in_any_list: np.ndarray

    @property
    def listed(self) -> np.ndarray:
        """Ascending keys of the lists that are not empty: an empty one is as good as none to a query."""
        return self.keys[self.lengths > 0]


def to_lists(postings: Iterable[tuple[int, np.ndarray, np.ndarray]]) -> Lists:
    """Lists of (key, items, scores), whose keys differ."""
    ordered = sorted(postings, key=lambda each: each[0])
    keys = np.array([key for key, _, _ in ordered], np.int64)
    offsets = np.cumsum([0, *(len(items) for _, items, _ in ordered)], dtype=np.int64)
    items = np.concatenate([np.zeros(0, np.int32), *(items for _, items, _ in ordered)])
    scores = np.concatenate([np.zeros(0, np.float32), *(scores for _, _, scores in ordered)])
    return Lists(keys, offsets, items.astype(np.int32), scores.astype(np.float32))


def joined(one: Lists, other: Lists) -> Lists:
    """The lists of both, whose keys differ."""
    return to_lists([*_split(one), *_split(other)])


def _split(lists: Lists) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    for key, start, stop in zip(lists.keys.tolist(), lists.offsets[:-1], lists.offsets[1:], strict=True):
        yield key, lists.items[start:stop], lists.scores[start:stop]


def read_index_lists(
    directory: str | os.PathLike[str], wanted: np.ndarray, num_items: int, num_code_keys: int
) -> tuple[Overview, Lists]:
    """Reads all posting lists of an index, one at a time, and keeps those that are wanted.

    Only the files of posting lists are read, so the index need not be finished.

    Args:
      directory: of the index.
      wanted: keys of the lists to keep.
      num_items: of the catalogue.
      num_code_keys: size of the code space; ready lists have the keys from here on.
    """
    wanted_keys = set(wanted.tolist())
    keys, lengths, kept = [], [], []
    in_list = np.zeros((2, num_items), bool)  # of codes, ready
    for found in posting_lists(directory):
        items = np.asarray(found.items, np.int32)
        keys.append(found.key)
        lengths.append(len(items))
        in_list[int(found.key >= num_code_keys), items] = True
        if found.key in wanted_keys:
            kept.append((found.key, items, np.asarray(found.scores, np.float32)))
    overview = Overview(np.array(keys, np.int64), np.array(lengths, np.int64), in_list[0], in_list.any(axis=0))
    return overview, to_lists(kept)


def read_ready_lists(
    model: pathlib.Path, wanted: np.ndarray, removed: np.ndarray, bad: Sequence[DeadLetter] = ()
) -> Lists:
    """The wanted ready lists as the export has them, not rounded, without removed items and bad lists."""
    path = model / "lists.parquet"
    keys = pa.array(np.unique(wanted), pa.int64())
    kept, first, bad_rows = [], 0, [letter.row for letter in bad]
    with open_parquet(path, f"ready lists {path}", "export the model again") as file:
        for batch in file.iter_batches(_BATCH_LISTS, columns=["key", "items", "scores"]):
            sound = pa.array(~np.isin(np.arange(first, first + batch.num_rows), bad_rows))
            first += batch.num_rows
            found = batch.filter(pc.and_(sound, pc.is_in(batch["key"], value_set=keys)))
            for key, items, scores in zip(found["key"].to_pylist(), found["items"], found["scores"], strict=True):
                there = ~np.isin(items.values, removed)
                kept.append((key, np.array(items.values)[there], np.array(scores.values)[there]))
    return to_lists(kept)
