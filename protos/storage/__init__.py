"""Where versions of a servable are published: numbered directories, on a file system or in a bucket.

A reader takes a version only when it is whole: its manifest is there and every file it lists, of the
size that it says. Who fetches one checks every byte. A version never changes, and its number is never
given to another while it is there.
"""

from __future__ import annotations

from protos.errors import UserError
from protos.storage.objects import BUCKETS, open_bucket
from protos.storage.posix import PosixStore
from protos.storage.store import Store, VersionTakenError

__all__ = ["Store", "VersionTakenError", "open_store"]


def open_store(url: str) -> Store:
    """The versions at a URL: a path, `file://`, `gs://`, `s3://`, or, within one process, `memory://`.

    Raises:
      UserError: nothing is known of such a URL, or its package is not installed.
    """
    scheme, separator, rest = str(url).partition("://")
    if not separator or scheme == "file":
        return PosixStore(rest if separator else str(url))
    if scheme not in BUCKETS:
        known = ", ".join(f"{name}://" for name in ("file", *BUCKETS))
        raise UserError(f"{url}: {scheme}:// is not a place for versions; give a path, or one of {known}")
    return open_bucket(str(url))
