"""A guessed schema as a YAML file with comments."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.compute as pc
import yaml

from trainer.data.schema import kinds
from trainer.data.schema.guesses import Log, TableGuess
from trainer.data.schema.sniff import Sniffed
from trainer.data.schema.spec import DEFAULT_BAD_SHARE, Feature
from trainer.data.schema.values import identifiers

_HEAD = """\
# What these files hold, guessed by `python -m trainer.data init`: read it, mend it, then
#   python -m trainer.data check --schema THIS_FILE    says what is understood and what is wrong
#   python -m trainer.task --data THIS_FILE --job-dir run
# Paths start at this file; a path may be a file, a directory of shards, a glob, or a URL.
"""


def write(
    log: Log, items: TableGuess | None, users: TableGuess | None, doubts: Sequence[str], base: pathlib.Path
) -> str:
    """The file's text; paths below `base` are relative to it."""
    lines = [*_HEAD.splitlines(), *(["#", "# Not sure:"] if doubts else []), *(f"# - {doubt}" for doubt in doubts), ""]
    lines += ["interactions:", *_indented(_log(log, base))]
    for place, table in (("items", items), ("users", users)):
        if table:
            lines += ["", f"{place}:", *_indented(_table(table, base))]
    lines += ["", "# Share of rows that may be left out, with a warning, because a value is missing or wrong."]
    return "\n".join([*lines, f"max_bad_share: {DEFAULT_BAD_SHARE}", ""])


def _log(log: Log, base: pathlib.Path) -> Iterator[str]:
    rename = _names(log.sniffed, {log.user: "user", log.item: "item", log.rating: "rating"} | _time_name(log))
    yield from _files(log.sniffed, base, rename)
    yield f"user: {_yaml(rename[log.user])}"
    yield f"item: {_yaml(rename[log.item])}"
    if log.time:
        yield "# Of numbers: `unit` since 1970. Of text other than ISO 8601: `format`. Times without a zone are UTC."
        fields = {"column": rename[log.time.column], "unit": log.time.unit, "format": log.time.format}
        defaults = {"unit": "s", "format": ""}
        yield f"time: {_yaml({name: value for name, value in fields.items() if value != defaults.get(name)})}"
    if log.event:
        types = pc.unique(identifiers(log.sniffed.columns[log.event]).values.drop_null()).to_pylist()
        yield "# All types count, also those that the first rows do not have. To weigh them, or to leave some out, name"
        yield "# all that count; those that were seen:"
        yield f"# event: {_yaml({'column': log.event, 'types': dict.fromkeys(sorted(types), 1.0)})}"
        yield f"event: {_yaml({'column': log.event})}"
    if log.rating:
        yield "# Only events of this weight or more would count:"
        yield f"# weight: {_yaml(rename[log.rating])}"
        yield "# min_weight: 4"
    yield from _event_features(log, rename)


def _time_name(log: Log) -> dict[str, str]:
    return {log.time.column: "time"} if log.time else {}


def _event_features(log: Log, rename: dict[str, str]) -> Iterator[str]:
    taken = {log.user, log.item, log.event, log.time and log.time.column}
    guesses = [kinds.feature_of(name, column) for name, column in log.sniffed.columns.items() if name not in taken]
    features = [
        Feature(log.rating, "number") if each.feature.name == log.rating else each.feature
        for each in guesses
        if each.feature
    ]
    if features:
        yield "# Features of events. A model that sees them wants them of every event of a query's history."
        yield "# features:"
        yield from (f"#   - {_feature(feature, rename)}" for feature in features)


def _table(table: TableGuess, base: pathlib.Path) -> Iterator[str]:
    wanted = {table.id: table.place[:-1], table.title: "title"}
    for feature in table.features:
        if feature.kind == "multi_category" and "genres" not in wanted.values() and table.place == "items":
            wanted.setdefault(feature.name, "genres")
    rename = _names(table.sniffed, wanted)
    yield from _files(table.sniffed, base, rename)
    missing = _missing(table)
    if missing:
        yield "# Texts that stand for no value."
        yield f"missing: {_yaml(missing)}"
    yield f"id: {_yaml(rename[table.id])}"
    if table.title:
        yield "# For people."
        yield f"title: {_yaml(rename[table.title])}"
    if table.features:
        yield "# What the model sees, unless its configuration names features of its own. Kinds: category,"
        yield "# multi_category, number, text, vector."
        if table.place == "users":
            yield "# Every query brings those of its user, or leaves out what it does not know."
        yield "features:"
        yield from (f"  - {_feature(feature, rename)}" for feature in table.features)


def _missing(table: TableGuess) -> list[str]:
    """Texts of features that seem to stand for no value, but not what may be an id or a title."""
    columns = table.sniffed.columns
    found = [kinds.missing_texts(columns[each.name]) for each in table.features if each.kind != "text"]
    named = [kinds.missing_texts(columns[name]) for name in filter(None, [table.id, table.title])]
    return sorted(set().union(*found) - set().union(*named))


def _names(sniffed: Sniffed, wanted: dict[str, str]) -> dict[str, str]:
    """Names of columns: those of the header, or where there is none, by what they hold."""
    if not sniffed.source.names:
        return {name: name for name in sniffed.columns}
    return {name: wanted.get(name, name) for name in sniffed.columns}


def _files(sniffed: Sniffed, base: pathlib.Path, rename: dict[str, str]) -> Iterator[str]:
    yield f"files: {_yaml(_pattern(sniffed, base))}"
    source = sniffed.source
    if source.separator:
        yield f"separator: {_yaml(source.separator)}"
    if source.names:
        yield "# There is no header line; these are its columns."
        yield f"names: {_yaml([rename[name] for name in source.names])}"
    if source.encoding != "utf-8":
        yield f"encoding: {_yaml(source.encoding)}"


def _pattern(sniffed: Sniffed, base: pathlib.Path) -> str | list[str]:
    """One path, a glob where it names these files and no others, or all of them."""
    labels = [file.label for file in sniffed.files]
    directory = os.path.dirname(labels[0])
    ending = "".join(pathlib.PurePosixPath(labels[0]).suffixes[-2:]) if labels[0].endswith("z") else ""
    ending = ending or pathlib.PurePosixPath(labels[0]).suffix
    if len(labels) == 1:
        return _relative(labels[0], base)
    if all(file.is_local for file in sniffed.files):
        globbed = {str(path) for path in pathlib.Path(directory).glob(f"*{ending}")}
        if globbed == set(labels):
            return _relative(f"{directory}/*{ending}", base)
    return [_relative(label, base) for label in labels]


def _relative(label: str, base: pathlib.Path) -> str:
    path = pathlib.PurePosixPath(label)
    return str(path.relative_to(base)) if path.is_relative_to(base) else label


def _feature(feature: Feature, rename: dict[str, str]) -> str:
    name = rename[feature.name]
    fields = {"name": name if name.isidentifier() else _identifier(name), "kind": feature.kind}
    if fields["name"] != name:
        fields["column"] = name
    for field in dataclasses.fields(Feature):
        value = getattr(feature, field.name)
        if field.name not in ("name", "kind", "column") and value != field.default:
            fields[field.name] = value
    return _yaml(fields)


def _identifier(name: str) -> str:
    made = "".join(letter if letter.isalnum() else "_" for letter in name)
    return made if made.isidentifier() else f"column_{made}"


def _yaml(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text.removesuffix("...\n").strip()


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)
