"""YAML as people write it, read with their slips named."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

import yaml

from protos.errors import UserError


class _Loader(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys without a word: half of what was written would not count."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """See PyYAML."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else key)
        return super().construct_mapping(node, deep)


def read_yaml(path: pathlib.Path) -> Any:
    """What a file holds.

    Raises:
      UserError: it is no YAML, or a key is there twice; the message is one line and has the place.
    """
    try:
        return yaml.load(path.read_text(), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {_in_a_line(error)}") from error


def value_of(text: str) -> Any:
    """The value of a flag, for argparse."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no YAML; quote it within: \"'...'\"") from error


def _in_a_line(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())
