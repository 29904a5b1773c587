"""Steps in processes of their own: what one of them took of memory is free again afterwards."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def in_process(function: Callable, *arguments: Any) -> Any:
    """What a function returns in a process of its own, which must be able to import it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()
