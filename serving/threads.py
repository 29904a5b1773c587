"""How many threads to run: as many as the cores that this process may use, not as there are.

A container sees all cores of its machine, but is stopped for the rest of each period once its threads together
have used up its share: more threads than cores in the share make the slowest answers slower.
"""

from __future__ import annotations

import os
import pathlib

import tensorflow as tf

CGROUP = pathlib.Path("/sys/fs/cgroup")


def usable_cores(cgroup: pathlib.Path = CGROUP) -> int:
    """Whole cores that this process may keep busy, at least 1: the least of its affinity and its cgroup's limit.

    Args:
      cgroup: where the control group of the process is mounted, as a container sees it.
    """
    limits = [len(os.sched_getaffinity(0)), _limit_v2(cgroup), _limit_v1(cgroup / "cpu")]
    return max(1, min(limit for limit in limits if limit is not None))


def session_config() -> tf.compat.v1.ConfigProto:
    """TensorFlow's threads within an op, and for ops side by side, are each as many as the usable cores."""
    cores = usable_cores()
    return tf.compat.v1.ConfigProto(intra_op_parallelism_threads=cores, inter_op_parallelism_threads=cores)


def _limit_v2(directory: pathlib.Path) -> int | None:
    """`cpu.max` holds microseconds of work a period, or "max", and the period."""
    path = directory / "cpu.max"
    if not path.is_file():
        return None
    quota, period = path.read_text().split()
    return None if quota == "max" else int(quota) // int(period)


def _limit_v1(directory: pathlib.Path) -> int | None:
    """The same in two files; -1 is no limit."""
    path = directory / "cpu.cfs_quota_us"
    if not path.is_file():
        return None
    quota, period = int(path.read_text()), int((directory / "cpu.cfs_period_us").read_text())
    return None if quota < 0 else quota // period
