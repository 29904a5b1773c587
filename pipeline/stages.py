"""Times the stages of a command that takes long."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Stages:
    """Times the stages of a command and says which one is under way."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times a block under a name."""
        print(f"\n== {name}", flush=True)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)
        print(f"   {self.seconds[name]:.1f} s", flush=True)
