"""How commands show that work goes on: a bar on a terminal, elsewhere a line now and then.

Not part of the client, which has no tqdm.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, TextIO

from tqdm import tqdm

# Without a terminal: nothing of work that ends sooner, and no more lines than one in so many seconds.
LINE_SECONDS = 20.0
_LINE = "{desc}: {n_fmt} of {total_fmt} {unit}s, {elapsed} gone, {remaining} to go, {rate_fmt}{postfix}"

_silent = False


def silence() -> None:
    """Shows nothing from here on: for a process that is one of several, which would write over one another's bars."""
    global _silent
    _silent = True
    # tqdm's own lock is a semaphore of the system, which a process that is ended would leave behind.
    tqdm.set_lock(threading.RLock())


def bar(total: int | None, label: str, unit: str, **more: Any) -> tqdm:
    """A bar on standard error, to be updated and closed as tqdm's own.

    Args:
      total: steps in all; None if that is not known.
      label: what the work is.
      unit: what a step is called, in the singular.
      more: see tqdm; `leave=False` of a bar inside another. Postfixes are set with `refresh=False`, or each is shown.
    """
    if sys.stderr.isatty():
        return tqdm(total=total, desc=label, unit=unit, dynamic_ncols=True, disable=_silent, **more)
    return tqdm(
        total=total,
        desc=label,
        unit=unit,
        file=_Lines(sys.stderr),
        bar_format=_LINE,
        delay=LINE_SECONDS,
        mininterval=LINE_SECONDS,
        miniters=1,
        position=0,  # a bar inside another one would move a cursor that a log has not
        disable=_silent,
        **more,
    )


class _Lines:
    """A stream on which what would be drawn over the last line becomes a line of its own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._last = stream, ""

    def write(self, text: str) -> None:
        """Writes what there is to be read of it."""
        line = text.strip()
        done = line.partition(" gone, ")[0].rpartition(", ")[0]
        if line and done != self._last:  # the end is drawn twice, and the second time some time may have gone
            self._stream.write(line + "\n")
            self._last = done

    def flush(self) -> None:
        """Flushes the stream."""
        self._stream.flush()
