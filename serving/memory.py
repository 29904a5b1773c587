"""Memory of versions that are gone goes back to the system, as TensorFlow Serving gives it back after an unload."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import traceback


def keep_what_is_there() -> None:
    """Has `give_back` look no longer at what exists by now, which takes it a tenth of the time.

    For a process that serves and does nothing else: called once, before the first version is loaded.
    """
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Frees what a version left behind: graphs of TensorFlow refer to themselves, and the allocator keeps pages."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library than GNU's has none
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def forget_frames(error: BaseException) -> None:
    """Lets an error that is kept refer no longer to what was being made when it was raised."""
    cause: BaseException | None = error
    while cause is not None:
        traceback.clear_frames(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
