"""Tensors on the wire without NumPy: what a client reads and writes who has only gRPC and protobuf.

`serving.tensors` does the same with arrays. Both work on TensorFlow's own TensorProto and on its copy in
protos/predict.proto.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from google.protobuf.message import Message


class TensorError(ValueError):
    """Values that have no TensorProto, or a TensorProto that is not a tensor."""


class DataType(NamedTuple):
    """One row of TensorFlow's table of types.

    Attributes:
      number: in the DataType enum.
      name: TensorFlow's and NumPy's.
      field: the list of TensorProto that holds the elements.
      code: of the struct module, how an element lies in `tensor_content`.
    """

    number: int
    name: str
    field: str
    code: str


TYPES = (
    DataType(1, "float32", "float_val", "f"),
    DataType(2, "float64", "double_val", "d"),
    DataType(3, "int32", "int_val", "i"),
    DataType(4, "uint8", "int_val", "B"),
    DataType(5, "int16", "int_val", "h"),
    DataType(6, "int8", "int_val", "b"),
    DataType(7, "string", "string_val", ""),
    DataType(9, "int64", "int64_val", "q"),
    DataType(10, "bool", "bool_val", "?"),
    DataType(17, "uint16", "int_val", "H"),
    DataType(19, "float16", "half_val", "e"),
    DataType(22, "uint32", "uint32_val", "I"),
    DataType(23, "uint64", "uint64_val", "Q"),
)
_BY_NUMBER = {row.number: row for row in TYPES}
_BY_NAME = {row.name: row for row in TYPES}


def type_name(number: int) -> str:
    """`float32` for 1, `string` for 7, and so on; `type 20` for a type that is not in the table."""
    return _BY_NUMBER[number].name if number in _BY_NUMBER else f"type {number}"


def encode_text(element: object) -> bytes:
    """An element of a tensor of strings as bytes, text as UTF-8.

    Raises:
      TensorError: it is neither text nor bytes.
    """
    if isinstance(element, str):
        return element.encode()
    if isinstance(element, bytes):
        return element
    raise TensorError(f"{element!r} among strings is a {type(element).__name__}; expected str or bytes")


class Tensor(NamedTuple):
    """A tensor as plain values.

    Attributes:
      dtype: a name in TYPES.
      shape: the sizes of its dimensions.
      values: row-major, as many as the shape has; read strings are bytes, written ones may be text.
    """

    dtype: str
    shape: tuple[int, ...]
    values: Sequence[Any]

    def nested(self) -> Any:
        """The values as lists within lists, one level a dimension."""
        level: Sequence[Any] = self.values
        for axis in range(len(self.shape) - 1, 0, -1):
            size = self.shape[axis]
            level = [level[row * size : (row + 1) * size] for row in range(math.prod(self.shape[:axis]))]
        return list(level) if self.shape else level[0]


def write(tensor: Tensor, proto: Message) -> None:
    """Fills an empty TensorProto, element by element.

    Raises:
      TensorError: a value is not of the tensor's type.
    """
    row = _BY_NAME[tensor.dtype]
    proto.dtype = row.number
    proto.tensor_shape.SetInParent()  # a scalar has a shape too, without dimensions
    for size in tensor.shape:
        proto.tensor_shape.dim.add(size=size)
    values: Iterable[Any] = map(encode_text, tensor.values) if row.name == "string" else tensor.values
    try:
        getattr(proto, row.field).extend(values)
    except (TypeError, ValueError) as error:
        if isinstance(error, TensorError):
            raise
        raise TensorError(f"{list(tensor.values)!r:.200} cannot be sent as {tensor.dtype}: {error}") from error


def read(proto: Message) -> Tensor:
    """The tensor of a TensorProto.

    A list that is too short repeats its last element, as TensorFlow has it; an empty one means zeros.

    Raises:
      TensorError: an unknown type, or content that does not fill the shape.
    """
    row = _BY_NUMBER.get(proto.dtype)
    if row is None:
        raise TensorError(f"{type_name(proto.dtype)} cannot be read")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    size = math.prod(shape)
    if proto.tensor_content and size:
        return Tensor(row.name, shape, _unpack(row, proto.tensor_content, size))
    values = list(getattr(proto, row.field)[:size])
    if row.field == "half_val":  # the bits of each value
        values = list(_unpack(row, struct.pack(f"<{len(values)}H", *values), len(values)))
    last = values[-1] if values else {"string": b"", "bool": False}.get(row.name, 0)
    return Tensor(row.name, shape, values + [last] * (size - len(values)))


def _unpack(row: DataType, content: bytes, size: int) -> tuple:
    try:
        return struct.unpack(f"<{size}{row.code}", content)
    except struct.error as error:
        raise TensorError(f"tensor_content has {len(content)} bytes; {size} x {row.name} need others") from error
