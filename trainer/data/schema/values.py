"""Columns as files have them, turned into ids, times and numbers; what will not turn is marked, not lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from protos.errors import UserError
from trainer.data.schema.spec import TimeColumn

_WHOLE = r"^\s*[+-]?\d{1,18}\s*$"
_DECIMAL = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
MICROS = PER_SECOND["us"]
EARLIEST = 631_152_000 * MICROS  # 1990: before it, times are of another unit, or wrong
_MOST_MICROS = 2**62


class Converted(NamedTuple):
    """A column of one type.

    Attributes:
      values: `[N]`; null where there is no value, or one that is wrong.
      wrong: `[N]` bool: there was a value, but not of this type.
    """

    values: pa.Array
    wrong: np.ndarray


def plain(column: pa.Array, missing: Sequence[str] = (), open_lists: bool = True) -> pa.Array:
    """A column of the type that its values have: dictionaries and bytes decoded, lists of one at most opened.

    Args:
      column: as a file has it.
      missing: texts that become null, as the empty text does.
      open_lists: whether lists may be; not where lists are wanted.

    Raises:
      pa.ArrowInvalid: bytes that are no UTF-8.
    """
    column = _opened(column) if open_lists else column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_text(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = column.cast(pa.string())
        nothing = pc.is_in(column, pa.array(["", *missing], pa.string()))
        return pc.if_else(nothing, pa.scalar(None, pa.string()), column)
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column.cast(pa.string()) if pa.types.is_null(column.type) else column


def _opened(column: pa.Array) -> pa.Array:
    """The single values of lists that have none or one each, such as those of tf.train.Example."""
    if not is_list(column.type) or (pc.max(pc.list_value_length(column)).as_py() or 0) > 1:
        return column
    full = pc.equal(pc.list_value_length(column).fill_null(0), 1)
    places = pc.if_else(full, pc.subtract(pc.cumulative_sum(full.cast(pa.int64())), 1), pa.scalar(None, pa.int64()))
    return column.flatten().take(places)


def is_text(kind: pa.DataType) -> bool:
    """Whether values are text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_list(kind: pa.DataType) -> bool:
    """Whether values are lists."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def identifiers(column: pa.Array) -> Converted:
    """Ids and names: text as it is, whole numbers by their digits (also `7.0`, as pandas writes 7 beside nulls)."""
    kind = column.type
    if is_text(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return all_right(column.cast(pa.string()))
    if pa.types.is_floating(kind):
        column = column.cast(pa.float64())
        whole = pc.fill_null(pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), 2.0**53)), False)
        kept = pc.if_else(whole, column, pa.scalar(None, pa.float64()))
        return against(column, kept.cast(pa.int64()).cast(pa.string()))
    return all_wrong(column, pa.string())


def without_point(column: pa.Array) -> pa.Array:
    """Text of whole numbers that a file of text has as `7.0`, as pandas writes 7 beside nulls, by their digits."""
    return pc.replace_substring_regex(column, r"^(-?\d+)\.0$", r"\1") if is_text(column.type) else column


def times(column: pa.Array, spec: TimeColumn) -> Converted:
    """Microseconds since 1970, int64; see TimeColumn for what is read."""
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        stamps = column.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
        return all_right(stamps.cast(pa.int64()))
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if spec.format and (is_number or is_text(kind)):
        return against(column, _parsed(identifiers(column).values, spec.format))
    if is_number:
        return against(column, _since_1970(column, spec.unit))
    if not is_text(kind):
        return all_wrong(column, pa.int64())
    whole = pc.match_substring_regex(column, _WHOLE)
    decimal = pc.and_(pc.match_substring_regex(column, _DECIMAL), pc.invert(whole))
    parts = (
        _since_1970(_digits(_where(whole, column)).cast(pa.int64()), spec.unit),
        _since_1970(_digits(_where(decimal, column)).cast(pa.float64()), spec.unit),
        _parsed(_where(pc.invert(pc.or_(whole, decimal)), column), "ISO8601"),
    )
    return against(column, pc.coalesce(*parts))


def _digits(column: pa.Array) -> pa.Array:
    """Text of numbers as Arrow casts it: without spaces around it, and without a leading +."""
    return pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"^\+", "")


def _since_1970(numbers: pa.Array, unit: str) -> pa.Array:
    rate = PER_SECOND[unit]
    if pa.types.is_floating(numbers.type):
        micros = pc.round(pc.multiply(numbers.cast(pa.float64()), MICROS / rate))
        fits = pc.less(pc.abs(micros), float(_MOST_MICROS))
        return pc.if_else(fits, micros, pa.scalar(None, pa.float64())).cast(pa.int64())
    numbers = numbers.cast(pa.int64(), safe=False)
    if rate > MICROS:
        # Division rounds towards 0; times before 1970 need the floor.
        floored = pc.floor(pc.divide(numbers.cast(pa.float64(), safe=False), rate / MICROS))
        return pc.if_else(pc.less(numbers, 0), floored.cast(pa.int64()), pc.divide(numbers, rate // MICROS))
    factor = MICROS // rate
    fits = pc.less(pc.abs(numbers), _MOST_MICROS // factor)
    return pc.multiply(pc.if_else(fits, numbers, pa.scalar(None, pa.int64())), factor)


def _parsed(texts: pa.Array, layout: str) -> pa.Array:
    """Times of texts, by pandas: it knows zones, mixed ones too, and gives what it cannot read as null.

    Raises:
      UserError: there is no such layout.
    """
    if texts.null_count == len(texts):
        return pa.nulls(len(texts), pa.int64())
    series = pd.Series(texts.to_numpy(zero_copy_only=False))
    try:
        stamps = pd.to_datetime(series, format=layout, utc=True, errors="coerce")
    except (ValueError, re.error) as error:  # the latter of a directive that is there twice
        raise UserError(
            f"time.format is {layout!r}: {error}; expected directives of strptime, such as %Y-%m-%d %H:%M:%S; numbers"
            " since 1970 need no `format` but a `unit`"
        ) from error
    naive = pa.array(stamps.dt.tz_localize(None).to_numpy().astype("datetime64[us]"))
    return naive.cast(pa.int64())


def numbers(column: pa.Array) -> Converted:
    """Numbers, float64; text that is one, and true and false as 1 and 0, too."""
    kind = column.type
    if is_text(kind):
        is_number = pc.match_substring_regex(column, _DECIMAL)
        return against(column, _digits(_where(is_number, column)).cast(pa.float64()))
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        found = column.cast(pa.float64(), safe=False)
        return against(column, pc.if_else(pc.is_finite(found), found, pa.scalar(None, pa.float64())))
    return all_wrong(column, pa.float64())


def _where(chosen: pa.Array, column: pa.Array) -> pa.Array:
    return pc.if_else(chosen, column, pa.scalar(None, column.type))


def against(column: pa.Array, values: pa.Array) -> Converted:
    """Converted values of a column: wrong is what was there and is null now."""
    return Converted(values, np.asarray(pc.and_(column.is_valid(), values.is_null())))


def all_right(values: pa.Array) -> Converted:
    """A column of which nothing is wrong."""
    return Converted(values, np.zeros(len(values), bool))


def all_wrong(column: pa.Array, kind: pa.DataType) -> Converted:
    """A column whose values are none of a type."""
    return Converted(pa.nulls(len(column), kind), np.asarray(column.is_valid()))
