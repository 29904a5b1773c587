"""Windows of prepared data in batches: a graph of tf.data that reads shards while training goes on.

Which batch a step sees is a function of the seed and the number of the step, so that a run resumes anywhere. A pass
puts the shards in an order of its own, reads several of them at a time, cuts users' events into windows, shuffles
blocks of windows, and makes batches of one class of lengths as `WindowBatches` has them. There is no Python in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

from trainer.config import Config
from trainer.data.prepared import BEGINS, EVENTS, ROWS, TRAITS, Prepared
from trainer.layers.tokenizers import PADDING
from trainer.windows import length_limits, windows_a_batch

_SHARDS_AT_ONCE = 8
_USERS_AT_ONCE = 64
_PIECE = 8192
_PASSES_APART = 1 << 32  # in seeds, which are smaller
_ENDLESS = np.iinfo(np.int64).max
_FEATURES = {ROWS: tf.io.RaggedFeature(tf.int64), BEGINS: tf.io.FixedLenFeature([2], tf.int64)}
_CONTEXT = {EVENTS: tf.io.RaggedFeature(tf.int64), TRAITS: tf.io.FixedLenFeature([], tf.int64)}


class PreparedBatches:
    """Batches of windows of about equal length, cut to it, in an order of `config.training.seed`.

    Attributes:
      steps: batches of a pass over the data.
    """

    def __init__(self, prepared: Prepared, config: Config) -> None:
        self._paths, self._length = prepared.paths, config.data.max_history
        self._with_context = bool(config.features.context)
        self._seed, self._block = config.training.seed, config.data.shuffled_windows
        self._limits = length_limits(self._length + 1)
        self._sizes = windows_a_batch(self._limits, config.training.batch_events)
        windows = window_lengths(prepared.lengths(), self._length)
        classes = np.searchsorted(self._limits, list(windows))
        counts = np.zeros(len(self._limits), np.int64)
        np.add.at(counts, classes, list(windows.values()))
        self.steps = int(sum(-(-counts // self._sizes)))

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        """The batches of a pass, each `[B, t]` int32 with t <= T + 1 (or `[B, t, 3]`); every window is in one."""
        return self._pass(tf.constant(number, tf.int64)).as_numpy_iterator()

    def dataset(self, start_step: int) -> tf.data.Dataset:
        """Endless batches after `start_step` of them have been seen; those of the pass begun are read again."""
        first, skipped = divmod(start_step, self.steps)
        return tf.data.Dataset.range(first, _ENDLESS).flat_map(self._pass).skip(skipped).prefetch(2)

    def _pass(self, number: tf.Tensor) -> tf.data.Dataset:
        """The batches of a pass; `number` is a scalar int64."""
        paths = tf.random.experimental.stateless_shuffle(tf.constant(self._paths), self._seed_of(number, 0))
        windows = read_windows(tf.data.Dataset.from_tensor_slices(paths), self._length, self._with_context)
        blocks = windows.rebatch(self._block).enumerate(1)
        shuffled = blocks.map(
            lambda block, rows: tf.random.experimental.stateless_shuffle(rows, self._seed_of(number, block))
        )
        sizes = tf.constant(self._sizes, tf.int64)
        return shuffled.unbatch().group_by_window(
            self._class_of, self._batch, window_size_func=lambda key: tf.gather(sizes, key)
        )

    def _seed_of(self, number: tf.Tensor, block: tf.Tensor | int) -> tf.Tensor:
        return tf.stack([tf.constant(self._seed, tf.int64) + number * _PASSES_APART, tf.cast(block, tf.int64)])

    def _class_of(self, window: tf.Tensor) -> tf.Tensor:
        rows = window[:, 0] if self._with_context else window
        length = tf.math.count_nonzero(rows != PADDING, dtype=tf.int32)
        return tf.searchsorted(tf.constant(self._limits), length[None], out_type=tf.int64)[0]

    def _batch(self, key: tf.Tensor, windows: tf.data.Dataset) -> tf.data.Dataset:
        limit = tf.gather(tf.constant(self._limits), key)
        return windows.batch(max(self._sizes)).map(lambda rows: rows[:, -limit:])


class PreparedWindows:
    """The windows once, in pieces `[W, T + 1]` int32 (or `[W, T + 1, 3]`); each iteration reads the shards again."""

    def __init__(self, prepared: Prepared, config: Config) -> None:
        self._paths, self._length = prepared.paths, config.data.max_history
        self._with_context = bool(config.features.context)

    def __iter__(self) -> Iterator[np.ndarray]:
        windows = read_windows(tf.data.Dataset.from_tensor_slices(self._paths), self._length, self._with_context)
        return windows.rebatch(_PIECE).as_numpy_iterator()


def read_windows(paths: tf.data.Dataset, max_history: int, with_context: bool = False) -> tf.data.Dataset:
    """The training windows of shards as `training_windows` cuts them, several `[W, T + 1]` int32 at a time.

    With context they are `[W, T + 1, 3]`, as `training_windows_with_context` has them.
    """
    records = paths.interleave(
        tf.data.TFRecordDataset, cycle_length=_SHARDS_AT_ONCE, num_parallel_calls=2, deterministic=True
    )
    return records.batch(_USERS_AT_ONCE).map(lambda batch: _windows_of(batch, max_history, with_context))


def _windows_of(records: tf.Tensor, max_history: int, with_context: bool) -> tf.Tensor:
    parsed = tf.io.parse_example(records, _FEATURES | _CONTEXT if with_context else _FEATURES)
    starts = tf.cast(parsed[ROWS].row_starts(), tf.int64)
    places, users = window_places(starts, parsed[BEGINS][:, 0], max_history)
    rows = taken(parsed[ROWS].values, places)
    if not with_context:
        return rows
    traits = tf.cast(tf.gather(parsed[TRAITS], users), tf.int32)
    return tf.stack([rows, taken(parsed[EVENTS].values, places), tf.broadcast_to(traits[:, None], tf.shape(rows))], -1)


def window_places(starts: tf.Tensor, lengths: tf.Tensor, max_history: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Which events the windows of sequences hold, as `training_windows` cuts them, and whose each window is.

    A sequence of n events gives ceil(n / T) windows; the j-th from its end ends j T events before it.

    Args:
      starts: `[U]` int64, where each sequence begins among all events.
      lengths: `[U]` int64.
      max_history: T.

    Returns:
      Places `[W, T + 1]` int64 among all events, -1 is padding, and owners `[W]`.
    """
    step = tf.constant(max_history, tf.int64)
    pieces = (lengths + step - 1) // step
    owners = tf.repeat(tf.range(tf.size(lengths)), pieces)
    numbers = tf.range(tf.reduce_sum(pieces)) - tf.repeat(tf.cumsum(pieces, exclusive=True), pieces)
    ends = tf.gather(starts + lengths, owners) - numbers * step
    places = ends[:, None] - tf.range(step + 1, 0, -1)
    return tf.where(places >= tf.gather(starts, owners)[:, None], places, PADDING), owners


def taken(values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """int32 values `[N]` at these places; -1 at place -1."""
    return tf.cast(tf.where(places >= 0, tf.gather(values, tf.maximum(places, 0)), PADDING), tf.int32)


def window_lengths(lengths: Mapping[int, int], max_history: int) -> dict[int, int]:
    """How many windows have so many events, of how many sequences have so many."""
    found: dict[int, int] = {}
    for length, count in lengths.items():
        pieces = -(-length // max_history)
        if pieces:
            last = length - (pieces - 1) * max_history
            found[last] = found.get(last, 0) + count
            found[max_history + 1] = found.get(max_history + 1, 0) + (pieces - 1) * count
    return found
