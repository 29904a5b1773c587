"""Synchronous replicas: all hold the same batch, each takes its rows of it, and what they find is summed.

Alone, outside `tf.distribute`, everything here gives back what it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

# Seeds of replicas are so far apart that no step and no layer of one is met by another.
_SEEDS_APART = 1 << 40


class Share(NamedTuple):
    """Which of the P queries of a batch this replica has.

    Attributes:
      numbers: `[P_r]` int64, ascending; its queries' places among all of them.
      total: scalar int64, P.
      weight: scalar, P_r / P: what its means count in the batch's; 0 of an empty batch.
    """

    numbers: tf.Tensor
    total: tf.Tensor
    weight: tf.Tensor


def count() -> int:
    """R, the replicas that take part in a step."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def own_rows(values: tf.Tensor) -> tf.Tensor:
    """Rows r, r + R, r + 2 R ... of `values` `[B, ...]` for replica r of R; there may be none."""
    return values if count() == 1 else values[_number() :: count()]


def share(valid: tf.Tensor) -> Share | None:
    """The queries of this replica's rows, one for each True of `valid` `[B, T]` of the whole batch; None if alone."""
    if count() == 1:
        return None
    present = tf.cast(valid, tf.int64)
    numbers = tf.reshape(tf.cumsum(tf.reshape(present, [-1])) - 1, tf.shape(valid))
    own, total = tf.boolean_mask(own_rows(numbers), own_rows(valid)), tf.reduce_sum(present)
    weight = tf.math.divide_no_nan(tf.cast(tf.size(own), tf.float32), tf.cast(total, tf.float32))
    return Share(own, total, weight)


def total(values: list[tf.Tensor]) -> list[tf.Tensor]:
    """Sums over replicas; gradients pass. Never inside `tf.cond` or a loop, where replicas could not meet."""
    if count() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def common(values: tf.Tensor) -> tf.Tensor:
    """Values that all replicas have alike; their gradient is summed over replicas and goes on in the first one only.

    The norm by which gradients are clipped counts each row that was gathered from a table by itself. With this, rows
    that all replicas gather count once, as they do alone.
    """
    if count() == 1:
        return values

    @tf.custom_gradient
    def passed(values: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def back(gradient: tf.Tensor) -> tf.Tensor:
            (summed,) = total([gradient])
            return tf.where(tf.equal(_number(), 0), summed, tf.zeros_like(summed))

        return tf.identity(values), back

    return passed(values)


def own_seed(seed: tf.Tensor) -> tf.Tensor:
    """A stateless seed `[2]` int64 of this replica's own; the first replica's is the one given."""
    return seed if count() == 1 else seed + _SEEDS_APART * tf.cast(_number(), tf.int64)


def _number() -> int | tf.Tensor:
    return tf.distribute.get_replica_context().replica_id_in_sync_group
