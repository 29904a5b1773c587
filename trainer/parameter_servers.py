"""Training without steps in common: workers that take batches as they can, and servers that keep the variables."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from trainer.cluster import Task
from trainer.placement import Placement
from trainer.training_data import Batches
from trainer.windows import WindowBatches


class ParameterServers(Placement):
    """The coordinator of workers that take batches one by one, and of servers that keep the variables.

    Steps are not synchronous: a worker computes gradients and codebook statistics from variables as it finds them, and
    adds to them what others may have changed in between. A moving average that two workers write at once keeps one's
    batch and loses the other's. So results differ from run to run.

    Args:
      task: the chief, where the coordinator is.
      rows_a_part: a table with twice as many rows or more, such as that of items, is split over the servers.
    """

    is_asynchronous = True

    def __init__(self, task: Task, rows_a_part: int) -> None:
        self._workers, self._servers = (len(task.cluster[job]) for job in ("worker", "ps"))
        self._rows_a_part = rows_a_part
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        super().__init__(tf.distribute.ParameterServerStrategy(resolver, variable_partitioner=self._parts), task)

    @property
    def num_processes(self) -> int:
        """One: the others do as they are told."""
        return 1

    def __str__(self) -> str:
        """What takes part, in one line."""
        return f"{self._workers} workers, {self._servers} parameter servers"

    def feed(self, source: Batches, start_step: int, epochs: int) -> Any:
        """See Placement; of W workers each gets every W-th batch, and those that are faster more of them."""

        def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
            in_memory = isinstance(source, WindowBatches)
            batches = source.in_graph(start_step, epochs) if in_memory else source.dataset(start_step)
            return batches.shard(self._workers, tf.distribute.coordinator.experimental_get_current_worker_index())

        return tf.keras.utils.experimental.DatasetCreator(of_worker)

    def _parts(self, shape: tf.TensorShape, dtype: tf.DType, **unused: Any) -> list[int]:
        """Into how many parts a variable is split, by axis: tables of many rows by their rows, and nothing else."""
        rows, *others = shape or [1]
        parts = max(1, min(self._servers, rows // self._rows_a_part)) if len(others) < 2 else 1
        return [parts, *[1] * len(others)][: len(shape)]
