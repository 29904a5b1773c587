"""One process at a time in a directory, or one that changes a file and none that reads it."""

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
    return _locked((directory / "lock").open("w"), fcntl.LOCK_EX, held, needed=True)


def lock_readers(path: pathlib.Path, held: str) -> TextIO:
    """Keeps `lock_writer` from a file, as any number of readers may, until what is given back is closed.

    Raises:
      UserError: the file is locked by a writer.
    """
    return _locked(path.open(), fcntl.LOCK_SH, held)


def lock_writer(path: pathlib.Path, held: str) -> TextIO:
    """Keeps readers and other writers from a file until what is given back is closed.

    Raises:
      UserError: the file is locked.
      OSError: it cannot be written.
    """
    return _locked(path.open("r+"), fcntl.LOCK_EX, held)


def _locked(file: TextIO, kind: int, held: str, needed: bool = False) -> TextIO:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UserError(held) from error
    except OSError:
        if needed:
            file.close()
            raise
        # A file system without locks: what it holds can be read and replaced all the same.
    return file
