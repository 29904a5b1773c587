"""Queries of a file: which of them are records one can encode, and which are not."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_index.dead_letters import DeadLetter
from beam_index.query_columns import Batch, column_names
from protos.query_inputs import HISTORY, QueryInput

KIND = "query"
_BATCH_ROWS = 8192
_SHOWN = 40  # bytes of a value in a reason


def sound(queries: Batch, inputs: Sequence[QueryInput]) -> np.ndarray:
    """Whether each of `n` queries is whole: `[n]` bool. An empty history is; a null is not."""
    return _sound_histories(queries.column(HISTORY)) & sound_features(queries, inputs)


def sound_features(queries: Batch, inputs: Sequence[QueryInput]) -> np.ndarray:
    """Whether `[n]` what each query brings beside its history keeps to the contract: protos/query_inputs.py.

    A null is a missing value, and of a whole query too.
    """
    history = queries.column(HISTORY)
    if all(_is_plain(queries.column(each.name), each, history) for each in inputs):
        return np.ones(len(history), bool)
    return np.array([_features_fault(values, inputs) is None for values in _rows(queries, inputs)], bool)


def bad_queries(path: str | os.PathLike[str], inputs: Sequence[QueryInput]) -> Iterator[DeadLetter]:
    """The queries of a file that are no records one can encode, by ascending row."""
    first = 0
    with pq.ParquetFile(pathlib.Path(path)) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=column_names(inputs)):
            for at in np.flatnonzero(~sound(batch, inputs)):
                (reason,) = faults(batch.slice(at, 1), inputs)
                yield DeadLetter(KIND, first + int(at), None, reason)
            first += len(batch)


def faults(queries: Batch, inputs: Sequence[QueryInput]) -> list[str | None]:
    """What is wrong with each query, in words; None where it is sound."""
    return [_history_fault(values[0]) or _features_fault(values, inputs) for values in _rows(queries, inputs)]


def _sound_histories(histories: pa.Array | pa.ChunkedArray) -> np.ndarray:
    if not histories.null_count and not pc.list_flatten(histories).null_count and _is_utf8(histories):
        return np.ones(len(histories), bool)
    return np.array([_history_fault(history) is None for history in _in_bytes(histories)], bool)


def _is_plain(column: pa.Array | pa.ChunkedArray, each: QueryInput, history: pa.Array | pa.ChunkedArray) -> bool:
    """Whether a look at the whole column finds nothing wrong with any query."""
    if pa.types.is_null(column.type):
        return True
    if each.of_event:
        if not _true(pc.equal(pc.list_value_length(column), pc.list_value_length(history))):
            return False
        column = pc.list_flatten(column)
    if each.kind == "vector" and not pa.types.is_null(column.type):
        return _true(pc.equal(pc.list_value_length(column), each.width))
    return _is_utf8(column)


def _true(values: pa.Array | pa.ChunkedArray) -> bool:
    """Whether none is false; null, of what is missing, will do."""
    return pc.all(values, min_count=0).as_py()


def _history_fault(history: list[bytes | None] | None) -> str | None:
    """What is wrong with a history, in words."""
    if history is None:
        return "the history is null; expected a list of item ids, which may be empty"
    for place, item in enumerate(history):
        if item is None:
            return f"the history has a null at place {place}; expected item ids"
        if not _decodes(item):
            return f"the history has {item[:_SHOWN]!r} at place {place}; expected an item id in UTF-8"
    return None


def _features_fault(query: Sequence[Any], inputs: Sequence[QueryInput]) -> str | None:
    """What is wrong with what a query, given as its history and its features, brings beside the history."""
    history, *features = query
    for values, each in zip(features, inputs, strict=True):
        if not each.of_event:
            values = [values]
        elif values is None:
            continue
        elif len(values) != len(history or ()):
            return (
                f"{each.name!r} has {len(values)} values for a history of {len(history or ())} events; expected one"
                " each, null where it is missing"
            )
        for place, value in enumerate(values):
            if fault := _value_fault(value, each):
                found, expected = fault
                at = f" at place {place}" if each.of_event else ""
                return f"{each.name!r} has {found}{at}; expected {expected}"
    return None


def _value_fault(value: Any, each: QueryInput) -> tuple[str, str] | None:
    """What was found in a value, and what would be right."""
    if each.kind == "vector":
        wrong = value is not None and len(value) != each.width
        return (f"a vector of {len(value)} numbers", str(each.width)) if wrong else None
    for part in (value or ()) if each.is_list else (value,):
        if isinstance(part, bytes) and not _decodes(part):
            return f"{part[:_SHOWN]!r}", "text in UTF-8"
    return None


def _rows(queries: Batch, inputs: Sequence[QueryInput]) -> Iterator[tuple[Any, ...]]:
    """Queries one by one: the history, then the features."""
    return zip(*(_in_bytes(queries.column(name)) for name in column_names(inputs)), strict=True)


def _in_bytes(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Its values with bytes for text, since strings of a file need not be UTF-8."""
    return column.cast(_with_bytes(column.type)).to_pylist()


def _with_bytes(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.large_binary()
    if hasattr(kind, "value_type"):  # a list
        return pa.large_list(_with_bytes(kind.value_type))
    return kind


def _is_utf8(column: pa.Array | pa.ChunkedArray) -> bool:
    """Of text, or of lists of text; other values have no such thing."""
    while hasattr(column.type, "value_type"):
        column = pc.list_flatten(column)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return True
    try:
        # Counting characters would do for most, but only this looks at every byte.
        pc.cast(pc.cast(column, pa.large_binary()), pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
