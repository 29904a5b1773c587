"""Columns as files have them, turned into features."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data.schema.spec import Feature
from trainer.data.schema.values import Converted, all_right, all_wrong, identifiers, is_list, is_text, numbers, plain


def feature_values(column: pa.Array, feature: Feature) -> Converted:
    """A plain column as Arrow has that kind of feature (trainer/features/raw.py)."""
    return _FEATURES[feature.kind](column, feature)


def _number_feature(column: pa.Array, _: Feature) -> Converted:
    found = numbers(column)
    return found._replace(values=found.values.cast(pa.float32(), safe=False))


def _name_feature(column: pa.Array, _: Feature) -> Converted:
    return identifiers(column)


def _multi_category(column: pa.Array, feature: Feature) -> Converted:
    if is_text(column.type) and feature.separator:
        parts = pc.split_pattern(column, feature.separator)
        return all_right(_without_empty(parts, pc.utf8_trim_whitespace(parts.flatten())))
    if is_list(column.type):
        names = identifiers(plain(column.flatten()))
        return all_right(_without_empty(column, names.values)) if not names.wrong.any() else _wrong_lists(column)
    single = identifiers(column)
    if single.wrong.any() or is_text(column.type):
        return all_wrong(column, pa.list_(pa.string()))
    return all_right(_lists_of_one(single.values))


def _wrong_lists(column: pa.Array) -> Converted:
    return all_wrong(column, pa.list_(pa.string()))


def _lists_of_one(values: pa.Array) -> pa.Array:
    present = np.asarray(values.is_valid())
    return _lists(present.astype(np.int64), values.drop_null(), ~present)


def _without_empty(lists: pa.Array, values: pa.Array) -> pa.Array:
    """Lists with these flattened values, of which "" and null are left out; null stays null."""
    kept = pc.fill_null(pc.not_equal(values, ""), False)
    parents = np.asarray(pc.list_parent_indices(lists))[np.asarray(kept)]
    return _lists(np.bincount(parents, minlength=len(lists)), values.filter(kept), np.asarray(lists.is_null()))


def _lists(lengths: np.ndarray, values: pa.Array, is_null: np.ndarray) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=pa.array(is_null))


def _vector(column: pa.Array, feature: Feature) -> Converted:
    if is_text(column.type):
        bare = pc.utf8_trim(column, "[]() \t")
        separator = feature.separator or ","
        column = pc.split_pattern(bare, separator) if separator.strip() else pc.ascii_split_whitespace(bare)
    kind = pa.list_(pa.float32())
    if not is_list(column.type):
        return all_wrong(column, kind)
    parts = numbers(plain(column.flatten())).values
    parents = np.asarray(pc.list_parent_indices(column))
    # A vector with a hole is none.
    holes = np.bincount(parents[np.asarray(parts.is_null())], minlength=len(column)) > 0
    lengths = np.asarray(pc.list_value_length(column).fill_null(0))
    wrong = holes | ((lengths == 0) & np.asarray(column.is_valid()))
    kept = parts.filter(pa.array(~wrong[parents])).cast(pa.float32(), safe=False)
    return Converted(_lists(np.where(wrong, 0, lengths), kept, wrong | np.asarray(column.is_null())), wrong)


_FEATURES: dict[str, Callable[[pa.Array, Feature], Converted]] = {
    "category": _name_feature,
    "multi_category": _multi_category,
    "number": _number_feature,
    "text": _name_feature,
    "vector": _vector,
}
