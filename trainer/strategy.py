"""Where a run trains: on one device, on all of a machine, or on several machines, by `tf.distribute`."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from protos.errors import UserError
from trainer.cluster import LOST, Task, give_up, read_task, serve
from trainer.training_data import Batches
from trainer.windows import WindowBatches

# Tables of items are split over parameter servers in parts of this size or more; what is small stays whole.
_LEAST_PART_BYTES = 1 << 20


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

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """In the block, a process that loses another one ends with exit code 75: start again, it resumes."""
        try:
            yield
        except tf.errors.OpError as error:
            if self._task is None or not isinstance(error, LOST):
                raise
            give_up(error)


class ParameterServers(Placement):
    """The coordinator of workers that take batches one by one, and of servers that keep the variables.

    Steps are not synchronous: a worker computes gradients and codebook statistics from variables as it finds them, and
    adds to them what others may have changed in between. A moving average that two workers write at once keeps one's
    batch and loses the other's. So results differ from run to run.

    Args:
      task: the chief, where the coordinator is.
    """

    is_asynchronous = True

    def __init__(self, task: Task) -> None:
        # A cluster that waits for workers waits without end; what it waits for has been said.
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        super().__init__(tf.distribute.ParameterServerStrategy(resolver, variable_partitioner=_parts), task)
        self._workers, self._servers = (len(task.cluster[job]) for job in ("worker", "ps"))

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


def _parts(shape: tf.TensorShape, dtype: tf.DType, **unused: Any) -> list[int]:
    """Into how many parts a variable is split, by axis: tables of rows and nothing else."""
    if len(shape) > 2:
        return [1] * len(shape)
    split = tf.distribute.experimental.partitioners.MinSizePartitioner(_LEAST_PART_BYTES, max_shards=64)
    return split(shape, dtype)


def _first_replica(value: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    mine = tf.where(tf.equal(context.replica_id_in_sync_group, 0), value, tf.zeros_like(value))
    return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)


def _mirrored(devices: Sequence[str]) -> Placement:
    processors = [name for name in devices if name.upper().startswith("CPU:")]
    if len(processors) > 1:
        cpu, *_ = tf.config.list_physical_devices("CPU")
        parts = [tf.config.LogicalDeviceConfiguration()] * len(processors)
        tf.config.set_logical_device_configuration(cpu, parts)
    known = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices()]
    for name in devices:
        if name.upper() not in known:
            raise UserError(f"--devices names {name!r}, which is not here; there are {', '.join(known)}")
    return Placement(tf.distribute.MirroredStrategy(list(devices) or None))


def _multi_worker(devices: Sequence[str]) -> Placement:
    task = read_task(("chief", "worker"))
    print(f"{task}: waiting for the other workers", flush=True)
    return Placement(tf.distribute.MultiWorkerMirroredStrategy(), task)


def _parameter_server(devices: Sequence[str]) -> Placement:
    task = read_task(("chief", "worker", "ps"))
    if task.job != "chief":
        serve(task)
    print(f"{task}: waiting for the workers and the parameter servers", flush=True)
    return ParameterServers(task)


_MAKERS: dict[str, Callable[[Sequence[str]], Placement]] = {
    "none": lambda devices: Placement(),
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "parameter_server": _parameter_server,
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--strategy` and `--devices`."""
    parser.add_argument(
        "--strategy",
        choices=_MAKERS,
        default="none",
        help="none trains on one device; mirrored on all GPUs of this machine; multi_worker on several machines:"
        " the same command on each, with its own TF_CONFIG and one shared --job-dir. The weights are those of one"
        " device up to rounding, and a run may go on with another strategy (default: %(default)s)",
    )
    parser.add_argument("--devices", default="", help="of mirrored: such as GPU:0,GPU:1 (default: all GPUs)")


def from_flags(arguments: argparse.Namespace) -> Placement:
    """The placement that flags made by `add_flags` ask for; call it before TensorFlow does anything.

    Raises:
      UserError: devices that are not here, or no usable TF_CONFIG.
    """
    devices = [name for name in arguments.devices.split(",") if name]
    if devices and arguments.strategy != "mirrored":
        raise UserError(f"--devices is of --strategy mirrored; --strategy is {arguments.strategy}")
    return _MAKERS[arguments.strategy](devices)
