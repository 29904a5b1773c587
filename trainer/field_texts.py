"""What the docstring of a configuration section says of each field: one text for --help and docs/configuration.md."""

from __future__ import annotations

import inspect
import re

_FIELD = re.compile(r"  (\w+): (.*)")


def field_texts(section: type) -> dict[str, str]:
    """The texts under `Attributes:` by field, each on one line; none where Python runs without docstrings."""
    _, _, attributes = (inspect.getdoc(section) or "").partition("Attributes:\n")
    texts: dict[str, str] = {}
    for line in attributes.splitlines():
        if found := _FIELD.fullmatch(line):
            name, texts[found[1]] = found[1], found[2]
        elif line.strip():
            texts[name] += " " + line.strip()
    return texts
