"""`python -m trainer.config_reference`: writes docs/configuration.md from the code, so that it cannot drift."""

from __future__ import annotations

import dataclasses
import inspect
import pathlib
import typing
from collections.abc import Sequence
from typing import Any

import yaml

from protos.command_line import CommandParser
from protos.errors import run_cli
from trainer.config import DEFAULT_PRESET, Config, FeatureConfig, load, preset_names
from trainer.field_texts import field_texts

_START = """\
# Configuration reference

<!-- Made by `make reference`; edit the docstrings of trainer/config.py instead. -->

A run is configured by a preset or a YAML file (`--config`), and by flags, which win: `--section.field VALUE`. What
neither names has the default below. `config.yaml` in a job directory has every field of that run written out, and is
itself a file for `--config`.

```sh
.venv/bin/python -m trainer.task --data path/to/ml-latest-small --job-dir run-reference \\
    --config default --training.seed 1 --training.epochs 40
```
"""


def markdown() -> str:
    """The whole page."""
    return "\n".join([_START, *map(_section, dataclasses.fields(Config)), _feature(), _presets()])


def _section(field: dataclasses.Field) -> str:
    section = typing.get_type_hints(Config)[field.name]
    return f"## `{field.name}`\n\n{_summary(section)}\n\n{_table(section)}"


def _summary(section: type) -> str:
    return inspect.getdoc(section).partition("\n\nAttributes:")[0]


def _table(section: type) -> str:
    texts, types = field_texts(section), typing.get_type_hints(section)
    lines = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(section):
        cells = (f"`{field.name}`", _type(types[field.name]), _default(field), texts[field.name])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _type(hint: Any) -> str:
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in choices)
    if typing.get_origin(hint) is tuple:
        return "list of features"
    return {int: "whole number", float: "number", bool: "true, false", str: "text"}[hint]


def _default(field: dataclasses.Field) -> str:
    if field.default is dataclasses.MISSING:
        return "required"
    return f"`{yaml.safe_dump(field.default if field.default != () else []).splitlines()[0]}`"


def _feature() -> str:
    title = "An entry of `features.items`, `features.events` or `features.users`"
    return f"## {title}\n\n{_summary(FeatureConfig)}\n\n{_table(FeatureConfig)}"


def _presets() -> str:
    lines = ["## Presets\n", "What each sets that is not a default:\n"]
    for name in sorted(preset_names(), key=lambda name: name != DEFAULT_PRESET):
        changed = _changed(load(name))
        lines.append(f"- `{name}`: {changed or 'nothing; these are the defaults'}")
    return "\n".join(lines) + "\n"


def _changed(config: Config) -> str:
    defaults = dataclasses.asdict(Config())
    return ", ".join(
        f"`{section}.{name}: {value}`"
        for section, fields in dataclasses.asdict(config).items()
        for name, value in fields.items()
        if value != defaults[section][name]
    )


def main(argv: Sequence[str]) -> None:
    """Writes the page."""
    parser = CommandParser(
        prog="python -m trainer.config_reference",
        description="Writes the reference of the configuration, made from its code.",
        epilog="example: python -m trainer.config_reference --output docs/configuration.md",
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the Markdown file")
    parser.parse_args(argv).output.write_text(markdown())


if __name__ == "__main__":
    run_cli(main)
