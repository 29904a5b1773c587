"""Runs side by side in processes of their own, each held to its share of the cores."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from typing import Any

_OMP = "OMP_NUM_THREADS"


def run_all(work: Callable[..., None], tasks: Sequence[tuple[Any, ...]], jobs: int) -> None:
    """Calls `work(*task)` for each task: in this process one after the other, or with `jobs` > 1 in that many others.

    After an error, tasks that no process has been handed yet are dropped; it is raised once the others have ended.
    """
    if jobs == 1 or len(tasks) < 2:
        for task in tasks:
            work(*task)
        return
    with _processes(min(jobs, len(tasks)), max(1, (os.cpu_count() or 1) // jobs)) as processes:
        futures = [processes.submit(work, *task) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            processes.shutdown(cancel_futures=True)
            raise


@contextlib.contextmanager
def _processes(count: int, threads: int) -> Iterator[Executor]:
    # Libraries read the variable when a process loads them, which is before any code of ours runs there.
    before = os.environ.get(_OMP)
    os.environ[_OMP] = str(threads)
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count, context, initializer=hold_threads, initargs=(threads,)) as processes:
            yield processes
    finally:
        if before is None:
            del os.environ[_OMP]
        else:
            os.environ[_OMP] = before


def hold_threads(threads: int) -> None:
    """Gives this process's TensorFlow so many threads; before its first op."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
