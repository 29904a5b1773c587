"""Where a run trains: on one device, on all of a machine, or on several machines; the flags that say so."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable

import tensorflow as tf

from protos.errors import UserError
from trainer.cluster import read_task, serve
from trainer.parameter_servers import ParameterServers
from trainer.placement import Placement


def _mirrored(arguments: argparse.Namespace) -> Placement:
    devices = [name for name in arguments.devices.split(",") if name]
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


def _multi_worker(arguments: argparse.Namespace) -> Placement:
    task = read_task(("chief", "worker"))
    print(f"{task}: waiting for the other workers", flush=True)
    heard = signal.getsignal(signal.SIGTERM)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    signal.signal(signal.SIGTERM, heard)  # TensorFlow takes the signal for itself, and then does nothing about it
    return Placement(strategy, task)


def _parameter_server(arguments: argparse.Namespace) -> Placement:
    if arguments.rows_a_part < 1:
        raise UserError(f"--rows-a-part is {arguments.rows_a_part}; expected 1 or more")
    jobs = ("chief", "worker", "ps")
    task = read_task(jobs, needed=jobs)
    if task.job != "chief":
        serve(task)
    print(f"{task}: waiting for the workers and the parameter servers", flush=True)
    return ParameterServers(task, arguments.rows_a_part)


_MAKERS: dict[str, Callable[[argparse.Namespace], Placement]] = {
    "none": lambda arguments: Placement(),
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
        " the same command on each, its own TF_CONFIG and one shared --job-dir; the weights are those of one"
        " device up to rounding. parameter_server: a chief, workers that take batches as they can, and servers that"
        " keep the variables; workers may come and go. A run may go on with another strategy (default: %(default)s)",
    )
    parser.add_argument("--devices", default="", help="of mirrored: such as GPU:0,GPU:1 (default: all GPUs)")
    parser.add_argument(
        "--rows-a-part",
        type=int,
        default=16384,
        help="of parameter_server: tables, such as that of items, are split over the servers in parts of at least so"
        " many rows (default: %(default)s)",
    )


def from_flags(arguments: argparse.Namespace) -> Placement:
    """The placement that flags made by `add_flags` ask for; call it before TensorFlow does anything.

    Raises:
      UserError: devices that are not here, or no usable TF_CONFIG.
    """
    if arguments.devices and arguments.strategy != "mirrored":
        raise UserError(f"--devices is of --strategy mirrored; --strategy is {arguments.strategy}")
    if arguments.rows_a_part < 1:
        raise UserError(f"--rows-a-part is {arguments.rows_a_part}; it must be at least 1")
    return _MAKERS[arguments.strategy](arguments)
