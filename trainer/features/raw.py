"""Columns of the data as tensors, checked: what an encoder takes, and what a query brings when served."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from protos.errors import UserError
from protos.query_inputs import QueryInput
from trainer.config import FeatureConfig

Raw = tf.Tensor | tf.RaggedTensor


ARROW_TYPES = {
    "category": pa.string(),
    "multi_category": pa.list_(pa.string()),
    "number": pa.float32(),
    "text": pa.string(),
    "vector": pa.list_(pa.float32()),
}


def raw_values(column: pa.Array, feature: FeatureConfig, place: str) -> Raw:
    """A column as the tensor of its kind.

    Args:
      column: N entries; null is a missing value.
      feature: what it is declared to be.
      place: what the column belongs to, for errors, such as `items`.

    Returns:
      category, text: `[N]` string, "" where missing. multi_category: `[N, None]` ragged string.
      number: `[N]` float32, nan where missing. vector: `[N, W]` float32, nan where missing.

    Raises:
      UserError: see `checked`.
    """
    return _TENSORS[feature.kind](checked(column, feature, place))


def checked(column: pa.Array, feature: FeatureConfig | QueryInput, place: str) -> pa.Array:
    """A column as an Arrow array of the one type that its kind has, ARROW_TYPES; null is a missing value.

    Raises:
      UserError: the column is of another type, a text in a column of numbers is none, or vectors are
        of several widths.
    """
    return _CHECKS[feature.kind](column, f"{place} column {feature.name!r}").cast(ARROW_TYPES[feature.kind], safe=False)


def _refuse(what: str, found: pa.DataType, wanted: str) -> NoReturn:
    raise UserError(f"features: {what} holds {found}, expected {wanted}")


def _is_name(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind) or kind == pa.bool_()


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _category(column: pa.Array, what: str) -> pa.Array:
    if not _is_name(column.type):
        _refuse(what, column.type, "text or whole numbers, one value a row; 'multi_category' takes lists")
    return column


def _multi_category(column: pa.Array, what: str) -> pa.Array:
    if not (_is_list(column.type) and _is_name(column.type.value_type)):
        _refuse(what, column.type, "lists of text or of whole numbers; 'category' takes one value a row")
    return column


def _text(column: pa.Array, what: str) -> pa.Array:
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        _refuse(what, column.type, "text")
    return column


def _number(column: pa.Array, what: str) -> pa.Array:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pa.array([_parse(value, row, what) for row, value in enumerate(column.to_pylist())], pa.float32())
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or column.type == pa.bool_()):
        _refuse(what, column.type, "numbers")
    return column


def _parse(value: str | None, row: int, what: str) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        raise UserError(f"features: {what}, row {row}: {value[:200]!r} is not a number") from None


def _vector(column: pa.Array, what: str) -> pa.Array:
    if not (_is_list(column.type) and pa.types.is_floating(column.type.value_type)):
        _refuse(what, column.type, "lists of floating-point numbers")
    present, widths = _present(column)
    wrong = present[widths != widths[:1]]
    if len(wrong):
        raise UserError(
            f"features: {what}, row {wrong[0]}: a vector of {len(column[wrong[0]])} numbers, expected {widths[0]} as in"
            f" row {present[0]}"
        )
    return column


def _present(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Rows that have a vector, and the widths of those."""
    rows = np.flatnonzero(column.is_valid())
    return rows, pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)[rows]


def _strings(column: pa.Array) -> tf.Tensor:
    return tf.constant(column.fill_null("").to_numpy(zero_copy_only=False), tf.string)


def _ragged(column: pa.Array) -> tf.RaggedTensor:
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    return tf.RaggedTensor.from_row_lengths(_strings(column.flatten()), lengths.astype(np.int64))


def _numbers(column: pa.Array) -> tf.Tensor:
    return tf.constant(column.fill_null(np.nan).to_numpy(zero_copy_only=False))


def _vectors(column: pa.Array) -> tf.Tensor:
    present, widths = _present(column)
    vectors = np.full((len(column), widths[0] if len(present) else 0), np.nan, np.float32)
    vectors[present] = column.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(len(present), -1)
    return tf.constant(vectors)


_CHECKS = {
    "category": _category,
    "multi_category": _multi_category,
    "number": _number,
    "text": _text,
    "vector": _vector,
}
_TENSORS = {
    "category": _strings,
    "multi_category": _ragged,
    "number": _numbers,
    "text": _strings,
    "vector": _vectors,
}
