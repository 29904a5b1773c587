"""Dataclasses from nested mappings such as YAML files hold, with every wrong name and value named."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from protos.errors import UserError

# What YAML 1.1 takes for text: it wants a point in the mantissa and a sign in the exponent.
_SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def built(kind: type, fields: Mapping[str, Any], at: str, place: str) -> Any:
    """A dataclass of its fields.

    Types of fields may be scalars, Literal, dataclasses, tuples of one of these, mappings from names to
    scalars, and `X | None`.

    Args:
      kind: the dataclass.
      fields: what is absent keeps its default.
      at: where they stand, such as `training` or `features.items[0]`.
      place: what to call the source in an error.

    Raises:
      UserError: an unknown field, one that has no default and is absent, or a value of the wrong type.
    """
    kinds = typing.get_type_hints(kind)
    for name in fields:
        known(name, kinds, f"{place}: field of section {at!r}")
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in fields:
            raise UserError(f"{place}: {at} has no field {field.name!r}")
    return kind(**{name: typed(value, kinds[name], place, f"{at}.{name}") for name, value in fields.items()})


def known(name: str, choices: Mapping[str, Any], what: str) -> None:
    """Refuses a name that is none of the choices, and says which one is close.

    Raises:
      UserError: see above.
    """
    if name in choices:
        return
    close = difflib.get_close_matches(str(name), choices, n=1)
    hint = f"; did you mean {close[0]!r}? It" if close else "; it"
    raise UserError(f"{what} {name!r} is unknown{hint} knows: {', '.join(choices)}")


def typed(value: Any, kind: Any, place: str, at: str) -> Any:
    """A value as its type, see `built`.

    Raises:
      UserError: it is of another.
    """
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value not in inner:
            raise UserError(f"{place}: {at} is {value!r}; choose one of {', '.join(map(repr, inner))}")
        return value
    if origin in (types.UnionType, typing.Union):
        return None if value is None else typed(value, inner[0], place, at)
    if origin is tuple:
        return _typed_list(value, inner[0], place, at)
    if origin is Mapping:
        return _typed_mapping(value, inner[1], place, at)
    if dataclasses.is_dataclass(kind):
        return _typed_fields(value, kind, place, at)
    if kind is float and isinstance(value, str) and _SCIENTIFIC.fullmatch(value):
        return float(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{place}: {at} is {value!r}; expected {kind.__name__}")
    return value


def _typed_list(values: Any, kind: type, place: str, at: str) -> tuple:
    if not isinstance(values, list | tuple):
        raise UserError(f"{place}: {at} is {values!r}; expected a list")
    return tuple(typed(value, kind, place, f"{at}[{number}]") for number, value in enumerate(values))


def _typed_mapping(values: Any, kind: type, place: str, at: str) -> dict:
    if not isinstance(values, Mapping):
        raise UserError(f"{place}: {at} is {values!r}; expected names with values")
    return {str(name): typed(value, kind, place, f"{at}.{name}") for name, value in values.items()}


def _typed_fields(value: Any, kind: type, place: str, at: str) -> Any:
    if not isinstance(value, Mapping):
        raise UserError(f"{place}: {at} is {value!r}; expected fields with values")
    return built(kind, value, at, place)
