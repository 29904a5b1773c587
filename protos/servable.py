"""A version of a servable, as everyone who handles one must know it: its format, and where its manifest is."""

from __future__ import annotations

import os
from typing import Any

from protos.artifact import MANIFEST, read_manifest

SERVABLE_FORMAT = "sparcode.servable/3"
# Where TensorFlow Serving expects what is not its own.
EXTRA = "assets.extra"
SERVABLE_MANIFEST = f"{EXTRA}/{MANIFEST}"


def read_servable_manifest(version_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the manifest of a version and holds every file against it.

    Raises:
      UserError: the manifest or a file is missing, truncated or changed, or it is of another format.
    """
    return read_manifest(version_dir, SERVABLE_FORMAT, SERVABLE_MANIFEST)
