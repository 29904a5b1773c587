"""Trainings side by side in processes of their own, each held to its share of the cores."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from typing import Any

from protos.progress import silence
from protos.quiet import quieten_tensorflow

_OMP = "OMP_NUM_THREADS"


def run_all(work: Callable[..., None], tasks: Sequence[tuple[Any, ...]], jobs: int) -> None:
    """Calls `work(*task)` for each task: in this process one after the other, or with `jobs` > 1 in that many others.

    After an error, tasks that no process has been handed yet are dropped; it is raised once the others have ended.
    """
    if jobs == 1 or len(tasks) < 2:
        for task in tasks:
            work(*task)
        return
    with executor(jobs, min(jobs, len(tasks))) as processes:
        futures = [processes.submit(work, *task) for task in tasks]
        try:
            for future in as_completed(futures):
                future.result()
        except Exception:
            processes.shutdown(cancel_futures=True)
            raise


@contextlib.contextmanager
def executor(jobs: int, count: int | None = None) -> Iterator[Executor]:
    """What runs `jobs` trainings at a time: this process itself if that is one, other processes if it is more.

    Where the block is interrupted the processes are ended; they also end when this one dies.

    Args:
      jobs: each gets that share of the cores.
      count: processes, if fewer.
    """
    if jobs == 1:
        yield _Here()
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    # Libraries read the variable when a process loads them, which is before any code of ours runs there.
    before = os.environ.get(_OMP)
    os.environ[_OMP] = str(threads)
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count or jobs, context, initializer=_begin, initargs=(threads,)) as processes:
            try:
                yield processes
            except (KeyboardInterrupt, SystemExit):
                for child in multiprocessing.active_children():
                    child.terminate()
                raise
    finally:
        if before is None:
            del os.environ[_OMP]
        else:
            os.environ[_OMP] = before


class _Here(Executor):
    """Runs work as it is handed over."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future:
        """See Executor; errors are raised here."""
        future: Future = Future()
        future.set_result(work(*arguments, **named))
        return future


def _begin(threads: int) -> None:
    """Makes a process ready: the one that started it decides when it ends, and it must not outlive that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group
    threading.Thread(target=_end_with_parent, daemon=True).start()
    silence()
    quieten_tensorflow()
    hold_threads(threads)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def hold_threads(threads: int) -> None:
    """Gives this process's TensorFlow so many threads; before its first op."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
