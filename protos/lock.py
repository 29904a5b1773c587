"""One process at a time in a directory."""

from __future__ import annotations

import fcntl
import pathlib
from typing import TextIO

from protos.errors import UserError


def lock(directory: pathlib.Path, held: str) -> TextIO:
    """Keeps others out of a directory until the file that is given back is closed, or the process has died.

    Args:
      directory: is there; gets a file `lock`.
      held: what to tell where another process is at work.

    Raises:
      UserError: another process has the lock.
      OSError: the directory cannot be written.
    """
    file = (directory / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UserError(held) from error
    return file
