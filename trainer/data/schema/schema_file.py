"""Reads a schema file."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from protos.errors import UserError
from trainer.data.schema.spec import Schema
from trainer.mappings import built, known
from trainer.yaml_text import read_yaml

_TAKEN = ("item_id", "removed")


def read_schema(path: str | os.PathLike[str]) -> Schema:
    """Reads a schema file; its paths become absolute.

    Raises:
      UserError: the file does not exist or is no YAML, or a field is unknown, missing, or of the wrong type.
    """
    path = pathlib.Path(path).expanduser().resolve()
    if not path.is_file():
        found = "is a directory" if path.exists() else "does not exist"
        raise UserError(f"schema {path} {found}; `python -m trainer.data init FILES` writes one from your files")
    values = read_yaml(path)
    if not isinstance(values, Mapping) or "interactions" not in values:
        raise UserError(f"{path}: expected a section 'interactions' with files, user and item; see trainer.data init")
    schema = built(Schema, {name: _spelt_out(value) for name, value in values.items()}, "schema", str(path))
    _check(schema, path)
    sources = {"interactions": schema.interactions, "items": schema.items, "users": schema.users}
    absolute = {
        name: dataclasses.replace(source, files=tuple(_absolute(file, path.parent) for file in source.files))
        for name, source in sources.items()
        if source
    }
    return dataclasses.replace(schema, name=schema.name or path.name.split(".")[0], **absolute)


def _spelt_out(section: Any) -> Any:
    """A section whose short forms, `files: a.csv` and `time: at`, are written in full."""
    if not isinstance(section, Mapping):
        return section
    section = dict(section)
    if isinstance(section.get("files"), str):
        section["files"] = [section["files"]]
    for name in ("time", "event"):
        if isinstance(section.get(name), str):
            section[name] = {"column": section[name]}
    return section


def _absolute(file: str, base: pathlib.Path) -> str:
    return file if "://" in file else os.path.normpath(base / pathlib.Path(file).expanduser())


def _check(schema: Schema, path: pathlib.Path) -> None:
    if not 0 <= schema.max_bad_share <= 1:
        raise UserError(f"{path}: max_bad_share is {schema.max_bad_share}; it must be in [0, 1]")
    for name in ("interactions", "items", "users"):
        source = getattr(schema, name)
        if source is None:
            continue
        if not source.files:
            raise UserError(f"{path}: {name}.files is empty; name at least one file")
        if source.names:  # what a header would say is known already
            for column in source.columns():
                known(column, dict.fromkeys(source.names), f"{path}: {name}: column")
    for feature in schema.items.features if schema.items else ():
        if feature.name in _TAKEN:
            raise UserError(
                f"{path}: items.features: {feature.name!r} is a column that every catalogue has; give the feature"
                " another name, and set its `column`"
            )
    try:
        _ = schema.declared
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
