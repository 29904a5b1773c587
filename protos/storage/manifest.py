"""What a manifest says of a version that is elsewhere."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from protos.errors import UserError
from protos.servable import SERVABLE_FORMAT, SERVABLE_MANIFEST

Sizes = Mapping[str, int]
"""Bytes of each file of a version, by its path from the version's directory."""

_KIND = SERVABLE_FORMAT.partition("/")[0]


def whole_manifest(sizes: Sizes, read: Callable[[str], bytes]) -> dict[str, Any] | None:
    """The manifest of a version of whatever format, if every file that it lists is there and of its size; else None.

    Args:
      sizes: what is there.
      read: reads one of these; raises FileNotFoundError where it is gone by now.
    """
    if SERVABLE_MANIFEST not in sizes:
        return None
    try:
        manifest = json.loads(read(SERVABLE_MANIFEST))
        whole = str(manifest["format"]).partition("/")[0] == _KIND and all(
            sizes.get(name) == file["bytes"] for name, file in manifest["files"].items()
        )
    except (FileNotFoundError, ValueError, TypeError, LookupError, AttributeError):  # gone, or no such manifest
        return None
    return manifest if whole else None


def files_of(manifest: Mapping[str, Any]) -> list[str]:
    """The files of a version, the manifest last."""
    return [*manifest["files"], SERVABLE_MANIFEST]


def inside(name: str, place: str) -> pathlib.PurePosixPath:
    """The path of a file that a manifest lists.

    Raises:
      UserError: it leads out of the version.
    """
    path = pathlib.PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(f"the manifest of {place} lists {name!r}, which is outside of it; do not use this version")
    return path
