"""The devices of a run, and what a process does with others that train with it (`tf.distribute`)."""

from __future__ import annotations

import contextlib
import pathlib
import secrets
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from protos.errors import UserError
from trainer.cluster import LOST, Task, end_at_once, give_up
from trainer.training_data import Batches


class Placement:
    """The devices of a run, and what this process is among those that train together.

    Every process does the same steps on the same batches. What only one should do (write, decide) the chief does.

    Args:
      strategy: of tf.distribute; None for the one device there is.
      task: this process among several; None where it is alone.

    Attributes:
      is_distributed: whether there is a strategy; a model made in its scope is not to be exported.
      is_asynchronous: whether steps overlap, so that how many are done is known at the ends of epochs only.
    """

    is_asynchronous = False

    def __init__(self, strategy: tf.distribute.Strategy | None = None, task: Task | None = None) -> None:
        self.is_distributed = strategy is not None
        self.strategy = strategy or tf.distribute.get_strategy()
        self._task = task
        self._of_chief = tf.function(lambda value: self.strategy.run(_first_replica, args=(value,)))

    @property
    def num_processes(self) -> int:
        """Processes that train together."""
        return 1 if self._task is None else self._task.num_workers

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what the run leaves behind; one of them does."""
        return self._task is None or self._task.is_chief

    def __str__(self) -> str:
        """What takes part, in one line."""
        return f"{self.strategy.num_replicas_in_sync} replicas in {self.num_processes} processes"

    def scope(self) -> contextlib.AbstractContextManager:
        """Where models and optimizers are made."""
        return self.strategy.scope()

    def feed(self, source: Batches, start_step: int, epochs: int) -> Any:
        """What Keras' fit takes: endless batches after `start_step` of them, of which `epochs` are to be trained.

        Every replica gets every batch, and takes its share of it in the step.
        """
        batches = source.dataset(start_step)
        if not self.is_distributed:
            return batches
        local = self.strategy.num_replicas_in_sync // self.num_processes
        repeated = batches.flat_map(lambda batch: tf.data.Dataset.from_tensors(batch).repeat(local))
        # Told that there is no end, replicas need not ask one another at every step whether there is more.
        endless = repeated.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        return self.strategy.distribute_datasets_from_function(lambda context: endless)

    def agreed(self, value: np.ndarray | float) -> np.ndarray:
        """The chief's value, in every process.

        Two processes need not compute the same to the last bit, and must not disagree on what to do. All processes
        ask, in the same order; of all but the chief only the shape and the type of `value` count.
        """
        if self.num_processes == 1:
            return np.asarray(value)
        return self.strategy.experimental_local_results(self._of_chief(tf.convert_to_tensor(value)))[0].numpy()

    def meet(self) -> None:
        """Waits until all processes are here."""
        self.agreed(0.0)

    def require_shared(self, directory: pathlib.Path) -> None:
        """Makes sure that all processes have the same directory at this path: the chief leaves a file for the others.

        What an earlier run has left there would not do: the same command may have run on each machine alone.

        Raises:
          UserError: this process does not find the chief's file.
        """
        if self.num_processes == 1:
            return
        mark = directory / f".seen-by-all-{int(self.agreed(np.int64(secrets.randbits(62)))):x}"
        try:
            if self.is_chief:
                mark.touch()
            self.meet()
            if not mark.exists():
                raise UserError(f"{directory} is not the chief's directory of this name; all need the same --job-dir")
            self.meet()
        finally:
            if self.is_chief:
                mark.unlink(missing_ok=True)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """In the block, a process that loses another one ends with exit code 75: start again, it resumes."""
        try:
            yield
        except tf.errors.OpError as error:
            if self._task is None or not isinstance(error, LOST):
                raise
            give_up(error)
        except SystemExit as end:  # by a signal
            if self._task is None:
                raise
            end_at_once(end.code)


def _first_replica(value: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    mine = tf.where(tf.equal(context.replica_id_in_sync_group, 0), value, tf.zeros_like(value))
    return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)
