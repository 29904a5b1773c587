"""Which codes are scored: all of the code space, or those that occur over a file of queries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from beam_index.counters import COUNTERS, QUERIES_ENCODED
from beam_index.plan import Plan
from beam_index.query_columns import column_names
from beam_index.query_encoder import Encoder, Queries, batches, load_encoder


class Codes(beam.PTransform):
    """The keys to score: one element, `[C]` int64, ascending."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        """See the class."""
        if self._plan.queries is None:
            # [C] int64
            return begin | "Count" >> beam.Create([self._plan.space.size]) | "AllKeys" >> beam.Map(np.arange)
        return (
            begin
            # pa.Table, a row group of the file
            | "Read" >> beam.io.ReadFromParquetBatched(self._plan.queries, columns=column_names(self._plan.inputs))
            # Queries, 1 .. BATCH_QUERIES of them
            | "Batch" >> beam.FlatMap(batches, self._plan.inputs)
            | "Spread" >> beam.Reshuffle()
            # [k] int64, ascending: the keys of a batch
            | "Encode" >> beam.ParDo(EncodeKeys(self._plan))
            # [C] int64, ascending
            | "Union" >> beam.CombineGlobally(UnionOfKeys())
        )


class EncodeKeys(beam.DoFn):
    """A batch of queries to the distinct code keys of their tokens; keys of ready lists, and no key, are left out."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shared = Shared()

    def setup(self) -> None:
        """Loads the query model, once a process."""
        self._keys = self._shared.acquire(self._load)

    def _load(self) -> Encoder:
        return load_encoder(self._plan.model, self._plan.inputs, ["keys"])

    def process(self, queries: Queries) -> Iterator[np.ndarray]:
        """Yields `[k]` int64, ascending."""
        (found,) = self._keys(queries)
        Metrics.counter(COUNTERS, QUERIES_ENCODED).inc(len(found))
        keys = np.unique(found)
        yield keys[(keys >= 0) & (keys < self._plan.space.size)]


class UnionOfKeys(beam.CombineFn):
    """Arrays of keys to the ascending array of those in any of them."""

    def create_accumulator(self) -> np.ndarray:
        """No keys."""
        return np.empty(0, np.int64)

    def add_input(self, accumulator: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Adds the keys of a batch."""
        return np.union1d(accumulator, keys)

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        """Joins the keys of several workers."""
        return np.unique(np.concatenate([self.create_accumulator(), *accumulators]))

    def extract_output(self, accumulator: np.ndarray) -> np.ndarray:
        """`[C]` int64, ascending."""
        return accumulator
