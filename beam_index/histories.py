"""Histories of the queries file: which of them are records one can encode, and which are not."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_index.dead_letters import DeadLetter

KIND = "query"
_BATCH_ROWS = 8192


def sound(histories: pa.Array) -> np.ndarray:
    """Whether each of `[n]` histories, lists of strings, is whole: `[n]` bool. An empty one is; a null is not."""
    if not histories.null_count and not histories.flatten().null_count and _is_utf8(histories):
        return np.ones(len(histories), bool)
    return np.array([_fault(history) is None for history in _in_bytes(histories)], bool)


def bad_histories(path: str | os.PathLike[str]) -> Iterator[DeadLetter]:
    """The histories of a queries file that are no records one can encode, by ascending row."""
    first = 0
    with pq.ParquetFile(pathlib.Path(path)) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=["history"]):
            histories = batch["history"]
            for at in np.flatnonzero(~sound(histories)):
                (history,) = _in_bytes(histories.slice(at, 1))
                yield DeadLetter(KIND, first + int(at), None, _fault(history))
            first += len(histories)


def _fault(history: list[bytes | None] | None) -> str | None:
    """What is wrong with a history, in words."""
    if history is None:
        return "the history is null; expected a list of item ids, which may be empty"
    for place, item in enumerate(history):
        if item is None:
            return f"the history has a null at place {place}; expected item ids"
        try:
            item.decode()
        except UnicodeDecodeError:
            return f"the history has {item[:40]!r} at place {place}; expected an item id in UTF-8"
    return None


def _in_bytes(histories: pa.Array) -> list[list[bytes | None] | None]:
    """The same as bytes, since strings of a file need not be UTF-8."""
    return histories.cast(pa.large_list(pa.large_binary())).to_pylist()


def _is_utf8(histories: pa.Array) -> bool:
    try:
        # Counting characters would do for most, but only this looks at every byte.
        pc.cast(pc.cast(histories.flatten(), pa.large_binary()), pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True
