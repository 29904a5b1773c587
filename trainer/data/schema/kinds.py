"""What a column is, by its values."""

from __future__ import annotations

import re
import time
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data.schema.feature_values import feature_values
from trainer.data.schema.spec import Feature, TimeColumn
from trainer.data.schema.values import (
    EARLIEST,
    MICROS,
    PER_SECOND,
    identifiers,
    is_list,
    is_text,
    numbers,
    plain,
    times,
)

_LAYOUTS = (
    *("%Y%m%d", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S"),
    *("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M"),
    *("%d %b %Y", "%b %d, %Y", "%m %d, %Y", "%a %b %d %H:%M:%S %z %Y"),
)
_MISSING = re.compile(r"\((no|none|unknown|not)\b.*\)|na|n/a|nan|null|none|unknown|\\n|-", re.IGNORECASE)
_SEPARATORS = ("|", ";", ",", "/")
_MOST_NAMES, _MOST_LENGTH = 2_000, 40
_ALMOST_ALL = 0.98


class Guess(NamedTuple):
    """What a column seems to be.

    Attributes:
      feature: how to declare it; None where it had better not be.
      doubt: what was not sure, or why it is no feature; "" where nothing was.
    """

    feature: Feature | None
    doubt: str = ""


def distinct(column: pa.Array) -> int:
    """Different values, null not counted."""
    return len(pc.unique(column.drop_null()))


def can_be_ids(column: pa.Array) -> bool:
    """Whether values are whole numbers or short texts."""
    if is_list(column.type):
        return False
    found = identifiers(column)
    lengths = pc.utf8_length(found.values.drop_null())
    return not found.wrong.any() and len(lengths) > 0 and pc.max(lengths).as_py() <= 64


def are_numbers(column: pa.Array) -> bool:
    """Whether there are values, and almost all are numbers."""
    present = column.drop_null()
    return not is_list(column.type) and len(present) > 0 and 1 - numbers(present).wrong.mean() >= _ALMOST_ALL


def is_key(column: pa.Array) -> bool:
    """Whether every row has a value of its own."""
    return can_be_ids(column) and not column.null_count and distinct(column) == len(column)


def time_of(name: str, column: pa.Array) -> TimeColumn | None:
    """How a column is to be read as times; None if it holds none between 1990 and next year."""
    if is_list(column.type) or not len(column.drop_null()):
        return None
    for unit in PER_SECOND:
        spec = TimeColumn(name, unit)
        if _credible(column, spec):
            return spec
    if not is_text(column.type):
        return None
    layouts = (TimeColumn(name, format=layout) for layout in _LAYOUTS)
    return next((spec for spec in layouts if _credible(column, spec)), None)


def _credible(column: pa.Array, spec: TimeColumn) -> bool:
    found = times(column, spec)
    seconds = np.asarray(found.values.drop_null()) // MICROS
    share = len(seconds) / len(column.drop_null())
    if share < _ALMOST_ALL:
        return False
    early, late = np.quantile(seconds, (0.05, 0.95))  # a few may be wrong: the check will name them
    return bool(early >= EARLIEST // MICROS and late <= time.time() + 366 * 86_400)


def missing_texts(column: pa.Array) -> list[str]:
    """Texts that seem to stand for no value."""
    if not is_text(column.type):
        return []
    return sorted(value for value in pc.unique(column.drop_null()).to_pylist() if _MISSING.fullmatch(value.strip()))


def feature_of(name: str, column: pa.Array) -> Guess:
    """Which kind of feature a column of a table seems to be."""
    if is_text(column.type):
        column = column.filter(pc.invert(pc.is_in(column, pa.array(missing_texts(column), pa.string()))))
    values = column.drop_null()
    if not len(values):
        return Guess(None, "it has no values")
    if reason := _unreadable(values):
        return Guess(None, reason)
    if is_list(values.type):
        return _of_lists(name, values)
    values = plain(values)
    if distinct(values) == 1:
        return Guess(None, f"all values are {values[0].as_py()!r}")
    if are_numbers(values):
        return _of_numbers(name, values.filter(pa.array(~numbers(values).wrong)))
    if not is_text(values.type):
        is_time = pa.types.is_temporal(values.type)
        return Guess(None, "it holds times, which are no kind of feature" if is_time else f"it holds {values.type}")
    return _of_texts(name, values)


def _unreadable(values: pa.Array) -> str:
    """Why no kind of feature can be made of values; "" where one may be."""
    parts = values.flatten() if is_list(values.type) else values
    if pa.types.is_nested(parts.type):
        return f"it holds {values.type}"
    try:
        plain(parts)
    except pa.ArrowInvalid:
        return "it holds bytes that are no UTF-8 text"
    return ""


def _of_lists(name: str, values: pa.Array) -> Guess:
    vector = Feature(name, "vector")
    lengths = distinct(pc.list_value_length(values))
    if pa.types.is_floating(values.type.value_type) and lengths == 1 and not feature_values(values, vector).wrong.any():
        return Guess(vector)
    names = Feature(name, "multi_category")
    if feature_values(values, names).wrong.any():
        return Guess(None, f"it holds {values.type}")
    return Guess(names)


def _of_numbers(name: str, values: pa.Array) -> Guess:
    found = np.asarray(numbers(values).values)
    whole, different = bool((found == np.floor(found)).all()), distinct(values)
    if pa.types.is_boolean(values.type) or (whole and different <= 20 and len(values) > 5 * different):
        return Guess(Feature(name, "category"), "few whole numbers: taken as categories, not as amounts")
    if whole and different > 0.9 * len(values) and len(values) > 20:
        return Guess(None, "almost every row has another whole number: it looks like an id")
    return Guess(Feature(name, "number"))


def _of_texts(name: str, values: pa.Array) -> Guess:
    vector = _vector_of_text(name, values)
    if vector:
        return Guess(vector)
    separator = _separator(values)
    if separator:
        return Guess(Feature(name, "multi_category", separator=separator))
    lengths = np.asarray(pc.utf8_length(values))
    different, spaced = distinct(values), pc.mean(pc.match_substring(values, " ").cast(pa.float64())).as_py()
    if different <= max(20, 0.1 * len(values)) and lengths.mean() <= _MOST_LENGTH:
        return Guess(Feature(name, "category"))
    if spaced >= 0.3 or lengths.mean() > _MOST_LENGTH:
        return Guess(Feature(name, "text"))
    if different > 0.9 * len(values):
        return Guess(None, "almost every row has another text without spaces: it looks like an id or an address")
    return Guess(
        Feature(name, "category", min_count=2), "many different texts: taken as categories, rare ones as unknown"
    )


def _vector_of_text(name: str, values: pa.Array) -> Feature | None:
    for separator in (",", " ", ";", "|"):
        feature = Feature(name, "vector", separator=separator)
        found = feature_values(values[:1_000], feature)
        lengths = pc.list_value_length(found.values.drop_null())
        if not found.wrong.any() and distinct(lengths) == 1 and lengths[0].as_py() >= 3:
            return feature
    return None


def _separator(values: pa.Array) -> str | None:
    """The character that parts many values into few, short, repeated ones."""
    for separator in _SEPARATORS:
        parted = pc.mean(pc.match_substring(values, separator).cast(pa.float64())).as_py()
        if parted < 0.1:
            continue
        parts = pc.utf8_trim_whitespace(pc.split_pattern(values, separator).flatten())
        few = distinct(parts) <= min(_MOST_NAMES, max(10, 0.3 * len(parts)))
        if few and pc.mean(pc.utf8_length(parts)).as_py() <= 30:
            return separator
    return None
