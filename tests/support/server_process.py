"""The embedded server as a process of its own."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[2]


@contextlib.contextmanager
def server_process(directory: pathlib.Path, *flags: object) -> Iterator[tuple[subprocess.Popen, int]]:
    """A ready `python -m serving.server` with these flags and its port; `directory` takes its files."""
    port_file = directory / "port"
    with open(directory / "stderr", "w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "serving.server", "--port", "0", "--port_file", port_file, *map(str, flags)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            while not port_file.exists():
                assert process.poll() is None, (directory / "stderr").read_text()
                time.sleep(0.1)
            yield process, int(port_file.read_text())
        finally:
            process.kill()
            process.communicate()
