"""The rate of a plain matrix product, of the sizes that a scorer multiplies, on all cores."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from beam_index.geometry import CALL_ITEMS, call_codes
from beam_index.saved_model import compiled, one_thread_session

_SECONDS = 2.0


def gemm_rate(dim: int, inner: int, hidden: int, pair_flops: float) -> float:
    """FLOPs a second of the two products of the hybrid scorer, and nothing else, in calls of the build's shape.

    Args:
      dim: D, inner size of the inner product.
      inner: K, inner size of the hidden layer.
      hidden: H, its units.
      pair_flops: of the scorer, which decides on the shape of a call.
    """
    codes = call_codes(pair_flops)
    rng = np.random.default_rng(0)
    shapes = ((codes * hidden, inner), (CALL_ITEMS, inner)), ((codes, dim), (CALL_ITEMS, dim))
    operands = [[rng.normal(size=shape).astype(np.float32) for shape in pair] for pair in shapes]
    with tf.Graph().as_default() as graph:
        left, right = (tf.compat.v1.placeholder(tf.float32, [None, None]) for _ in range(2))
        product = tf.matmul(left, right, transpose_b=True)
    multiply = compiled(one_thread_session(graph), [left.name, right.name], [product.name])
    threads = len(os.sched_getaffinity(0))
    end = time.perf_counter() + _SECONDS

    def work(_: int) -> int:
        calls = 0
        while time.perf_counter() < end:
            for pair in operands:
                multiply(*pair)
            calls += 1
        return calls

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        calls = sum(pool.map(work, range(threads)))
    return calls * 2 * codes * CALL_ITEMS * (hidden * inner + dim) / (time.perf_counter() - start)
