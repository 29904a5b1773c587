"""What TensorFlow says that would bury what a command says, beside what protos/__init__.py holds back."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator


def quieten_tensorflow() -> None:
    """Leaves what TensorFlow's Python logs below an error unsaid; not with --debug."""
    if "--debug" not in sys.argv:
        logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextlib.contextmanager
def standard_error_discarded() -> Iterator[None]:
    """Discards what the process, its C++ too, writes on standard error while the block runs; not with --debug.

    For notices that no log level holds back, in a block that does nothing else: whatever fails in it still raises.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3":  # protos/__init__.py
        yield
        return
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
