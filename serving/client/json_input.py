"""Queries as JSON: a list of objects, or an object a line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from protos.errors import UserError
from serving.client.queries import Query

_KEYS = tuple(field.name for field in dataclasses.fields(Query))


def read_queries(text: str, source: str) -> list[tuple[Mapping[str, Any], Query]]:
    """The objects of a text, each with the query it is.

    Raises:
      UserError: what is no JSON, no object, or has a key that a query does not have; it names `source`, as a user
        calls the text, and the place in it.
    """
    return [(entry, _query(entry, f"{source}, {place}")) for place, entry in _entries(text, source)]


def _entries(text: str, source: str) -> Iterator[tuple[str, Any]]:
    if text.lstrip().startswith("["):
        for place, entry in enumerate(_parse(text, source), start=1):
            yield f"entry {place}", entry
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield f"line {number}", _parse(line, f"{source}, line {number}")


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: no JSON ({error}); expected a list of objects, or an object a line") from error


def _query(entry: Any, where: str) -> Query:
    if not isinstance(entry, dict) or not isinstance(entry.get("history", []), list):
        raise UserError(
            f'{where}: found {entry!r:.200}, expected an object such as {{"history": ["1", "260"], "k": 5}}'
        )
    if unknown := sorted(entry.keys() - set(_KEYS)):
        raise UserError(f"{where}: no key {unknown[0]!r} is known; expected some of {', '.join(_KEYS)}")
    return Query(**entry)
