"""Layers that compute in 16 bits; their variables keep 32."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

NONE = "none"


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Keras layers made in the block compute in "float16" or "bfloat16"; with "none" in float32 as ever."""
    if precision == NONE:
        yield
        return
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(f"mixed_{precision}")
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def scales_loss(optimizer: tf.keras.optimizers.Optimizer) -> bool:
    """Whether gradients are of a scaled loss, as those of float16 must be: small ones would be 0."""
    return isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
