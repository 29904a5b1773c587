"""The fields of a document: the columns of the catalogue, and two of our own."""

from __future__ import annotations

import datetime
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from protos.errors import UserError

ID_COLUMN = "item_id"
CODES = "codes"
ROW = "row"
_OURS = {CODES: "of the item's codes", ROW: "of its row of the catalogue"}
# A text is searched word by word, and as a whole where it is short.
_TEXT = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 256}}}


def chosen_columns(schema: pa.Schema, wanted: Sequence[str] | None, path: pathlib.Path) -> list[str]:
    """The columns of the catalogue that become fields.

    Args:
      schema: of the catalogue.
      wanted: their names; None: all but the item id, which is the document's id.
      path: of the catalogue, for errors.

    Raises:
      UserError: there is no such column, or it cannot be a field.
    """
    columns = [name for name in schema.names if name != ID_COLUMN] if wanted is None else list(wanted)
    for name in columns:
        if name not in schema.names:
            raise UserError(f"--columns names {name!r}, which {path} does not have; it has {', '.join(schema.names)}")
        if name in _OURS:
            raise UserError(
                f"{path} has a column {name!r}, which is the name of the field {_OURS[name]}; leave it out with"
                " --columns, or rename it and export the model again"
            )
    return columns


def mapping(schema: pa.Schema, columns: Sequence[str]) -> dict[str, Any]:
    """The body of the request that creates the engine's index.

    Raises:
      UserError: a column has a type that JSON cannot say.
    """
    fields = {name: _field(name, schema.field(name).type) for name in columns}
    return {"mappings": {"properties": {ROW: {"type": "integer"}, **fields, CODES: {"type": "rank_features"}}}}


def _field(name: str, kind: pa.DataType) -> Mapping[str, Any]:
    if pa.types.is_dictionary(kind):
        return _field(name, kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _TEXT
    if pa.types.is_boolean(kind):
        return {"type": "boolean"}
    if pa.types.is_integer(kind):
        return {"type": "unsigned_long" if kind == pa.uint64() else "long"}
    if pa.types.is_floating(kind):
        return {"type": "double" if kind == pa.float64() else "float"}
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return {"type": "date"}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _list_field(name, kind.value_type)
    raise UserError(
        f"column {name!r} of the catalogue is {kind}, which cannot be a field; expected texts, numbers, dates,"
        " or lists of them: leave it out with --columns"
    )


def _list_field(name: str, kind: pa.DataType) -> Mapping[str, Any]:
    """A field has one value or many alike. Texts of a list are labels; numbers of a list are a vector, only kept."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return {"type": "keyword"}
    if pa.types.is_floating(kind):
        return {"type": "float", "index": False, "doc_values": False}
    return _field(name, kind)


def plain(value: Any) -> Any:
    """A value as JSON can say it: numbers that are not finite become null, dates text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value
