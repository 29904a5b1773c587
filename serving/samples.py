"""Real queries of an export as batches of inputs, for warmup."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq

from protos.query_inputs import HISTORY, QueryInput, tensors

# More than the largest batch that is warmed up holds.
_MAX_QUERIES = 32


class Samples:
    """The first queries of an export, repeated as often as needed; none makes empty histories.

    A feature without a column in the file, and null, are missing.
    """

    def __init__(self, queries: pathlib.Path, inputs: Sequence[QueryInput], width: int) -> None:
        """Reads `queries.parquet`.

        Args:
          queries: the file: `history`, lists of ids, and a column of values for some or all inputs.
          inputs: of the query model beside the history.
          width: of histories in batches; of a longer one the latest events are kept.
        """
        columns = {HISTORY, *(each.name for each in inputs)} & {*pq.read_schema(queries).names}
        self._rows = pq.read_table(queries, columns=sorted(columns)).slice(0, _MAX_QUERIES).to_pylist() or [{}]
        self._inputs = inputs
        self._width = width

    def widths(self) -> dict[str, int]:
        """The last dimension of each input that has more than the batch's, as it is in batches."""
        return {name: values.shape[-1] for name, values in self.batch(_MAX_QUERIES).items() if values.ndim > 1}

    def batch(self, size: int) -> dict[str, np.ndarray]:
        """The inputs of `size` queries."""
        rows = [self._rows[number % len(self._rows)] for number in range(size)]
        values = {each.name: [row.get(each.name) for row in rows] for each in self._inputs}
        values[HISTORY] = [row.get(HISTORY) for row in rows]
        for name in (HISTORY, *(each.name for each in self._inputs if each.of_event)):
            values[name] = [(of_query or [])[-self._width :] for of_query in values[name]]
        return tensors(values, self._inputs, self._width)
