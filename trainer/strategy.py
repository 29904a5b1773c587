"""Where a run trains: on one device, on all of a machine, or on several machines, by `tf.distribute`."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from protos.errors import UserError
from trainer.cluster import LOST, Task, give_up, read_task

STRATEGIES = ("none", "mirrored", "multi_worker")


class Placement:
    """The devices of a run, and what this process is among those that train together.

    Every process does the same steps on the same batches. What only one should do (write, decide) the chief does.

    Args:
      strategy: of tf.distribute; None for the one device there is.
      task: this process among several; None where it is alone.

    Attributes:
      is_distributed: whether there is a strategy; a model made in its scope is not to be exported.
    """

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

    def feed(self, batches: tf.data.Dataset) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """Endless batches for Keras: every replica gets every batch, and takes its share of it in the step."""
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
            if self.num_processes == 1 or not isinstance(error, LOST):
                raise
            give_up(error)


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


_MAKERS: dict[str, Callable[[Sequence[str]], Placement]] = {
    "none": lambda devices: Placement(),
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--strategy` and `--devices`."""
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
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
