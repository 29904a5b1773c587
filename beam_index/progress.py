"""Progress across processes: workers write a line a step to one file, the command line shows it."""

from __future__ import annotations

import contextlib
import pathlib
import threading
from collections.abc import Iterator

from protos.progress import bar

_PLANNED = "planned"
_DONE = "done\n"
_SECONDS_BETWEEN = 0.5


class Journal:
    """What the workers of one machine have done. Short appended lines do not mix."""

    def __init__(self, path: str) -> None:
        self._path = pathlib.Path(path)

    def planned(self, steps: int) -> None:
        """Says how many steps there will be."""
        self._append(f"{_PLANNED} {steps}\n")

    def done(self) -> None:
        """Says that a step is done."""
        self._append(_DONE)

    def read(self) -> tuple[int, int]:
        """Steps done and steps planned, 0 while that is not known."""
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        planned = [int(line.split()[1]) for line in lines if line.startswith(_PLANNED)]
        return lines.count(_DONE.strip()), max(planned, default=0)

    def _append(self, line: str) -> None:
        # A worker on another machine, or one that outlives a failed build, has no such directory; and a full disk
        # is for the index to complain of.
        with contextlib.suppress(OSError), self._path.open("a") as file:
            file.write(line)


@contextlib.contextmanager
def shown(journal: Journal, visible: bool) -> Iterator[None]:
    """Shows on standard error, while the block runs, what the journal says."""
    if not visible:
        yield
        return
    stop = threading.Event()
    ticker = threading.Thread(target=_tick, args=(journal, stop), daemon=True)
    ticker.start()
    try:
        yield
    finally:
        stop.set()
        ticker.join()


def _tick(journal: Journal, stop: threading.Event) -> None:
    with bar(None, "scoring", "piece") as scoring:
        over = False
        while not over:
            over = stop.wait(_SECONDS_BETWEEN)
            done, planned = journal.read()
            scoring.total = planned or None
            scoring.update(done - scoring.n)
