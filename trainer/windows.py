"""Histories as fixed windows, and the order in which training sees them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from trainer.data.histories import Histories
from trainer.layers.tokenizers import PADDING

_ROWS, _EVENTS, _USERS = range(3)


def rows_of(windows: tf.Tensor | np.ndarray) -> tf.Tensor | np.ndarray:
    """The item rows `[B, T]` of windows with context `[B, T, 3]` or without `[B, T]`."""
    return windows[..., _ROWS] if len(windows.shape) == 3 else windows


def events_of(windows: tf.Tensor) -> tf.Tensor:
    """The entries of event columns `[B, T]` of windows; -1 where there is none."""
    return windows[..., _EVENTS] if len(windows.shape) == 3 else tf.fill(tf.shape(windows), PADDING)


def users_of(windows: tf.Tensor) -> tf.Tensor:
    """The entries of user columns `[B, T]` of windows, the same at every place; -1 where it is not known."""
    return windows[..., _USERS] if len(windows.shape) == 3 else tf.fill(tf.shape(windows), PADDING)


def pad_with_context(histories: Histories, length: int) -> np.ndarray:
    """The last `length` events of each history as windows with context, `[B, length, 3]` int32.

    The last axis holds the row of the item, the entry of the event columns, and that of the user columns.
    """
    rows, events = pad_histories(histories.rows, length), pad_histories(histories.events, length)
    return _with_users(rows, events, histories.users)


def training_windows_with_context(histories: Histories, max_history: int) -> np.ndarray:
    """Like `training_windows`, with context: `[W, T + 1, 3]`."""
    owners = [np.full(len(rows), user) for rows, user in zip(histories.rows, histories.users, strict=True)]
    cut = [training_windows(sequences, max_history) for sequences in (histories.rows, histories.events, owners)]
    return _with_users(cut[0], cut[1], cut[2].max(axis=1, initial=PADDING))


def _with_users(rows: np.ndarray, events: np.ndarray, users: np.ndarray) -> np.ndarray:
    return np.stack([rows, events, np.broadcast_to(users[:, None], rows.shape)], -1).astype(np.int32)


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


class WindowBatches:
    """Batches of windows of about equal length, cut to it: short histories cost no more than they hold.

    Windows are put into classes of lengths; a batch has windows of one class, as many as make about
    `batch_events` places. What an epoch holds and in which order is a function of (seed, epoch), and
    every epoch has the same number of steps, so a run can resume anywhere.

    Attributes:
      steps: batches an epoch.
    """

    def __init__(self, windows: np.ndarray, batch_events: int, seed: int) -> None:
        """Cuts nothing yet.

        Args:
          windows: `[W, T + 1]` from training_windows, or `[W, T + 1, 3]` with context.
          batch_events: places a batch, padding included; a batch holds one window at least.
          seed: of the order.
        """
        self._windows, self._seed = windows, seed
        lengths = np.count_nonzero(rows_of(windows) != PADDING, axis=1)
        limits = length_limits(windows.shape[1])
        classes = np.searchsorted(limits, lengths)
        self._classes = [np.flatnonzero(classes == number) for number in range(len(limits))]
        self._limits, self._sizes = limits, windows_a_batch(limits, batch_events)
        self.steps = sum(-(-len(rows) // size) for rows, size in zip(self._classes, self._sizes, strict=True))

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        """The batches of an epoch, each `[B, t]` int32 with t <= T + 1 (or `[B, t, 3]`); every window is in one."""
        for rows, limit in self._order(number):
            yield self._windows[rows, -limit:]

    def _order(self, number: int) -> Iterator[tuple[np.ndarray, int]]:
        """Which windows the batches of an epoch have, and the length they are cut to."""
        rng = np.random.default_rng((self._seed, number))
        batches = []
        for rows, size, limit in zip(self._classes, self._sizes, self._limits, strict=True):
            shuffled = rng.permutation(rows)
            batches += [(shuffled[start : start + size], limit) for start in range(0, len(rows), size)]
        for place in rng.permutation(len(batches)):
            yield batches[place]

    def dataset(self, start_step: int) -> tf.data.Dataset:
        """Endless batches after `start_step` of them have been seen."""

        def rest() -> Iterator[np.ndarray]:
            first, skipped = divmod(start_step, self.steps)
            yield from itertools.islice(self.epoch(first), skipped, None)
            for number in itertools.count(first + 1):
                yield from self.epoch(number)

        signature = tf.TensorSpec([None, None, *self._windows.shape[2:]], tf.int32)
        return tf.data.Dataset.from_generator(rest, output_signature=signature).prefetch(2)

    def in_graph(self, start_step: int, epochs: int) -> tf.data.Dataset:
        """The same where this process's Python cannot run; after so many epochs those after `start_step` again.

        Windows and the order of these epochs are constants of the graph.
        """
        first, skipped = divmod(start_step, self.steps)
        orders = itertools.chain.from_iterable(self._order(number) for number in range(first, max(epochs, first + 1)))
        rows, limits = zip(*itertools.islice(orders, skipped, None), strict=True)
        places = tf.RaggedTensor.from_row_lengths(
            np.concatenate(rows).astype(np.int32), [len(each) for each in rows], validate=False
        )
        batches = tf.data.Dataset.from_tensor_slices((places, np.array(limits, np.int32)))
        return batches.repeat().map(lambda of_batch, limit: tf.gather(self._windows, of_batch)[:, -limit:])


def length_limits(longest: int) -> list[int]:
    """Upper ends of the classes of lengths: 3, 4, 6, 8, 11 ... each some 4/3 of the one before."""
    limits = [min(3, longest)]
    while limits[-1] < longest:
        limits.append(min(longest, max(limits[-1] + 1, round(limits[-1] * 4 / 3))))
    return limits


def windows_a_batch(limits: Sequence[int], batch_events: int) -> list[int]:
    """How many windows of each class of lengths make about `batch_events` places; one at least."""
    return [max(1, batch_events // limit) for limit in limits]
