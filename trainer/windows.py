"""Histories as fixed windows, and the order in which training sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.layers.tokenizers import PADDING


def pad_histories(histories: Sequence[np.ndarray], length: int) -> np.ndarray:
    """The last `length` events of each history, right-aligned, -1 on the left: `[B, length]` int32."""
    windows = np.full((len(histories), length), PADDING, np.int32)
    for row, history in enumerate(histories):
        kept = history[-length:]
        if len(kept):
            windows[row, length - len(kept) :] = kept
    return windows


def training_windows(sequences: Sequence[np.ndarray], max_history: int) -> np.ndarray:
    """Cuts sequences into windows in which every event is predicted exactly once.

    Windows are cut from the end; a window's first event is also the last of the one before it, where
    it is the target, and here it is context only. An event that begins its sequence is predicted
    from the start marker.

    Args:
      sequences: events of each user, oldest first.
      max_history: T.

    Returns:
      `[W, T + 1]` int32, right-aligned, -1 is padding.
    """
    pieces = []
    for sequence in sequences:
        end = len(sequence)
        while end > 0:
            start = max(0, end - (max_history + 1))
            pieces.append(sequence[start:end])
            # A full window leaves its first event to the window before it.
            end = start + 1 if end - start > max_history else 0
    return pad_histories(pieces, max_history + 1)


def steps_per_epoch(windows: np.ndarray, batch_size: int) -> int:
    """Batches that hold every window once; the last may be smaller."""
    return -(-len(windows) // batch_size)


def training_dataset(windows: np.ndarray, batch_size: int, seed: int, start_step: int) -> tf.data.Dataset:
    """Endless batches; the order of epoch e is a function of (seed, e), so a run can resume anywhere.

    Args:
      windows: `[W, T + 1]`.
      batch_size: windows a batch.
      seed: of the order.
      start_step: batches already seen.

    Yields:
      `[B, T + 1]` int32.
    """
    steps = steps_per_epoch(windows, batch_size)
    table = tf.constant(windows)

    def order(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffled = tf.random.experimental.stateless_shuffle(
            tf.range(len(windows)), seed=tf.stack([tf.constant(seed, tf.int64), epoch])
        )
        return tf.data.Dataset.from_tensor_slices(shuffled).batch(batch_size)

    epochs = tf.data.Dataset.range(start_step // steps, np.iinfo(np.int64).max)
    batches = epochs.flat_map(order).skip(start_step % steps)
    return batches.map(lambda rows: tf.gather(table, rows)).prefetch(2)
