"""Real queries of an export as batches of inputs, for warmup."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

from serving.inputs import HISTORY, OPEN_WIDTH

# More than the largest batch that is warmed up holds.
_MAX_QUERIES = 32
_MISSING = {tf.string: "", tf.float32: np.nan}


class Samples:
    """The first queries of an export, repeated as often as needed; none makes empty histories.

    A feature without a column in the file, and null, are missing: "" or nan.
    """

    def __init__(
        self, queries: pathlib.Path, features: Mapping[str, tf.TensorSpec], events: Sequence[str], width: int
    ) -> None:
        """Reads `queries.parquet`.

        Args:
          queries: the file: `history`, lists of ids, and a column of values for some or all features.
          features: inputs of the query model beside the history.
          events: which of them are features of events, and stand at the place of theirs.
          width: of histories in batches; of a longer one the latest events are kept.
        """
        columns = [name for name in pq.read_schema(queries).names if name == HISTORY.name or name in features]
        self._rows = pq.read_table(queries, columns=columns).slice(0, _MAX_QUERIES).to_pylist() or [{}]
        self._specs = {HISTORY.name: HISTORY, **features}
        self._of_events = {HISTORY.name, *events}
        self._width = width

    def widths(self) -> dict[str, int]:
        """The last dimension of each input that has more than the batch's, as it is in batches."""
        return {name: values.shape[-1] for name, values in self.batch(1).items() if values.ndim > 1}

    def batch(self, size: int) -> dict[str, np.ndarray]:
        """The inputs of `size` queries."""
        rows = [self._rows[number % len(self._rows)] for number in range(size)]
        return {name: self._input(name, spec, [row.get(name) for row in rows]) for name, spec in self._specs.items()}

    def _input(self, name: str, spec: tf.TensorSpec, values: Sequence[Any]) -> np.ndarray:
        shape = [OPEN_WIDTH if width is None else width for width in spec.shape.as_list()]
        shape[0] = len(values)
        if name in self._of_events:
            shape[1] = self._width
            values = [(value or [])[-self._width :] for value in values]
        filled = np.full(shape, _MISSING[spec.dtype], object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype)
        _fill(filled, values)
        return filled


def _fill(array: np.ndarray, values: Sequence[Any]) -> None:
    """Writes nested lists into the beginning of each dimension; None is left out, and so is what does not fit."""
    for place, value in enumerate(values[: len(array)]):
        if value is None:
            continue
        if array.ndim > 1:
            _fill(array[place], value)
        else:
            array[place] = str(value) if array.dtype == object else value
