"""Runs independent tasks as a Beam pipeline; what a task finds out comes back through a small file."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import pathlib
import pickle
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from tqdm import tqdm

from protos import artifact
from protos.artifact import writing
from protos.beam.options import user_errors
from protos.errors import UserError
from protos.progress import bar

_SECONDS_BETWEEN = 0.5


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A piece of work that can be done again, anywhere, with the same outcome.

    Attributes:
      scratch: directory that all workers share.
      number: of this task in its stage.
    """

    scratch: str
    number: int

    @property
    def result(self) -> pathlib.Path:
        """The file that says that it is done, and holds what came of it."""
        return pathlib.Path(self.scratch) / f"{type(self).__name__}-{self.number}.done"

    def run(self) -> None:
        """Does it, then writes `result`."""
        outcome = self.do()
        with whole_file(self.result) as temporary:
            temporary.write_bytes(pickle.dumps(outcome))

    @abc.abstractmethod
    def do(self) -> Any:
        """Does the work; what it returns is small."""


def run_tasks(tasks: Sequence[Task], options: PipelineOptions, progress: bool) -> list[Any]:
    """Runs the tasks of a stage.

    Returns:
      What each of them returned, in their order.

    Raises:
      UserError: of a task; or the runner lost one.
    """
    with _shown(tasks, progress), user_errors("data"), beam.Pipeline(options=options) as pipeline:
        _ = pipeline | beam.Create(tasks) | beam.Map(_run)
    lost = [task.number for task in tasks if not task.result.exists()]
    if lost:
        raise UserError(
            f"the runner lost {len(lost)} of {len(tasks)} tasks; nothing was written: prepare again, with"
            " --direct_running_mode=in_memory if it was Beam's local runner with several workers; workers on other"
            " machines must see the same --output directory"
        )
    return [pickle.loads(task.result.read_bytes()) for task in tasks]


def _run(task: Task) -> None:
    task.run()


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary name for a file that gets its own when the block ends without an error.

    Raises:
      UserError: the file cannot be written.
    """
    with writing(path), artifact.whole_file(path) as temporary:
        yield temporary


@contextlib.contextmanager
def _shown(tasks: Sequence[Task], progress: bool) -> Iterator[None]:
    """A bar on standard error of the tasks that are done, while the block runs."""
    if not progress:
        yield
        return
    name = type(tasks[0]).__name__.lower()
    with bar(len(tasks), name, "task") as shown:
        over = threading.Event()
        watcher = threading.Thread(target=_watch, args=(tasks, shown, over), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def _watch(tasks: Sequence[Task], shown: tqdm, over: threading.Event) -> None:
    ended = False
    while not ended:
        ended = over.wait(_SECONDS_BETWEEN)
        shown.update(sum(task.result.exists() for task in tasks) - shown.n)
