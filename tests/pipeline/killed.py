"""`python -m tests.pipeline.killed RENAMED ...`: pipeline.publish that is killed as a file gets the name RENAMED."""

from __future__ import annotations

import os
import pathlib
import signal
import sys

from pipeline.publish import main


def _die_at(name: str) -> None:
    def hear(event: str, arguments: tuple) -> None:
        if event == "os.rename" and pathlib.Path(os.fsdecode(arguments[1])).name == name:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)


if __name__ == "__main__":
    _die_at(sys.argv[1])
    main(sys.argv[2:])
