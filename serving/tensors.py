"""NumPy arrays and TensorProto, without TensorFlow.

Works on TensorFlow's own message and on its copy in protos/predict.proto, which have the same fields.
Strings are arrays of dtype object holding bytes, as TensorFlow has them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import Message

from serving.wire import TYPES, DataType, TensorError, encode_text, type_name

# A shape costs its sender nothing; this is the most memory that repeating a last element may take.
MAX_PADDING_BYTES = 16 << 20
_STRING_OVERHEAD_BYTES = 24  # what TensorFlow keeps for a string besides its characters


@dataclasses.dataclass(frozen=True)
class _DataType:
    """One row of TensorFlow's table of types.

    Attributes:
      number: in the DataType enum.
      dtype: of the array.
      field: the list of TensorProto that holds the elements.
      stored: type of the elements of that list.
      bits: the type whose bits are stored, where not the values themselves are.
    """

    number: int
    dtype: np.dtype
    field: str
    stored: type
    bits: type | None = None


_STORED = {"float_val": np.float32, "double_val": np.float64, "string_val": object, "int64_val": np.int64}
_STORED |= {"bool_val": np.bool_, "uint32_val": np.uint32, "uint64_val": np.uint64}  # the other lists hold int32
_BITS = {"half_val": np.uint16}


def _data_type(row: DataType) -> _DataType:
    dtype = np.dtype(object if row.name == "string" else row.name)
    return _DataType(row.number, dtype, row.field, _STORED.get(row.field, np.int32), _BITS.get(row.field))


_TYPES = tuple(map(_data_type, TYPES))
_BY_NUMBER = {row.number: row for row in _TYPES}
_BY_DTYPE = {row.dtype.str: row for row in _TYPES}
_STRING = _BY_DTYPE[np.dtype(object).str]


def as_array(values: np.ndarray | Sequence[Any] | Any) -> np.ndarray:
    """An array of a type that TensorFlow has; strings become bytes, as UTF-8.

    Python's integers become int64 and its floats float64: give an array where the model wants others.

    Raises:
      TensorError: rows of different lengths, or elements that no type of TensorFlow holds.
    """
    try:
        array = np.asarray(values)
        if array.dtype.kind in "SU" and not isinstance(values, np.ndarray):
            array = np.asarray(values, dtype=object)  # NumPy's own strings lose NULs at their end
    except ValueError as error:
        raise TensorError(f"the values are no array: {error}") from error
    if array.dtype.kind in "SUO":
        return _as_bytes(array)
    if array.dtype.newbyteorder("<").str not in _BY_DTYPE:
        known = ", ".join(row.name for row in TYPES)
        raise TensorError(f"an array of {array.dtype} has no TensorFlow type; expected one of {known}")
    return array


def _as_bytes(array: np.ndarray) -> np.ndarray:
    encoded = np.empty(array.size, dtype=object)
    encoded[:] = [encode_text(element) for element in array.ravel().tolist()]
    return encoded.reshape(array.shape)


def write_tensor(values: np.ndarray | Sequence[Any], proto: Message) -> None:
    """Fills an empty TensorProto, element by element as TensorFlow Serving answers.

    Raises:
      TensorError: as `as_array`.
    """
    array = as_array(values)
    row = _BY_DTYPE[array.dtype.newbyteorder("<").str]
    proto.dtype = row.number
    proto.tensor_shape.SetInParent()  # a scalar has a shape too, without dimensions
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    flat = array.ravel()
    getattr(proto, row.field).extend((flat if row.bits is None else flat.view(row.bits)).tolist())


def read_tensor(proto: Message) -> np.ndarray:
    """The array of a TensorProto, by TensorFlow's rules.

    The elements come from `tensor_content` or from the list of their type. A list that is too short
    repeats its last element, an empty one means zeros, and what a longer one has to spare is ignored.

    Raises:
      TensorError: an unknown type, a shape that is not complete, content that does not fill it, or
        far fewer elements than the shape has.
    """
    row = _BY_NUMBER.get(proto.dtype)
    if row is None:
        raise TensorError(f"{type_name(proto.dtype)} cannot be read")
    shape = _complete_shape(proto)
    size = math.prod(shape)
    if proto.tensor_content and size:
        return _shaped(_from_content(row, proto.tensor_content, size), shape)
    values = getattr(proto, row.field)[:size]
    return _shaped(_from_strings(values, size) if row is _STRING else _from_numbers(values, size, row), shape)


def _complete_shape(proto: Message) -> tuple[int, ...]:
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise TensorError(f"shape {list(shape)} is not complete: the sizes of a tensor are known and >= 0")
    return shape


def _from_content(row: _DataType, content: bytes, size: int) -> np.ndarray:
    if row is _STRING:
        raise TensorError("strings are read from string_val, not from tensor_content")
    if len(content) != size * row.dtype.itemsize:
        raise TensorError(f"tensor_content has {len(content)} bytes; {size} x {row.dtype} need others")
    return np.frombuffer(content, row.dtype.newbyteorder("<")).astype(row.dtype)


def _from_strings(values: Sequence[bytes], size: int) -> np.ndarray:
    last = values[-1] if values else b""
    _check_padding(size - len(values), len(last) + _STRING_OVERHEAD_BYTES)
    array = np.empty(size, dtype=object)
    array.fill(last)  # not np.full, which loses NULs at the end
    array[: len(values)] = list(values)
    return array


def _from_numbers(values: Sequence[float], size: int, row: _DataType) -> np.ndarray:
    _check_padding(size - len(values), row.dtype.itemsize)
    stored = np.array(values, row.stored)
    # Casting wraps around, as TensorFlow does where an int_val does not fit.
    array = stored.astype(row.dtype) if row.bits is None else stored.astype(row.bits).view(row.dtype)
    if len(array) == size:
        return array
    last = array[-1] if len(array) else row.dtype.type(0)
    return np.concatenate([array, np.full(size - len(array), last)])


def _check_padding(count: int, item_bytes: int) -> None:
    if count * item_bytes > MAX_PADDING_BYTES:
        raise TensorError(
            f"the shape asks for {count} elements more than there are, {count * item_bytes} bytes; at most"
            f" {MAX_PADDING_BYTES}"
        )


def _shaped(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    try:
        return array.reshape(shape)
    except ValueError as error:  # more dimensions, or with a 0 among them larger ones, than NumPy has
        raise TensorError(f"shape {list(shape)} is not supported: {error}") from error
