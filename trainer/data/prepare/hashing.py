"""Numbers for ids that are the same on every machine, and in the graph of an exported model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

_LARGEST = 2**62


def buckets(ids: Sequence[str], count: int) -> np.ndarray:
    """`[N]` int64 in [0, count): FarmHash of the id modulo `count`."""
    return tf.strings.to_hash_bucket_fast(tf.constant(list(ids), tf.string), count).numpy()


def mixed(ids: Sequence[str]) -> np.ndarray:
    """`[N]` int64: by them ids stand in an order that has to do with nothing else."""
    return buckets(ids, _LARGEST)
