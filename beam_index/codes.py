"""Which codes are scored: all of the code space, or those that occur over a file of queries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.utils.shared import Shared

from beam_index.counters import COUNTERS, QUERIES_ENCODED
from beam_index.histories import sound
from beam_index.plan import Plan
from beam_index.saved_model import SavedModel

# Histories encoded together, always in this shape (see geometry.py).
BATCH_QUERIES = 256

History = list[str]


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
            | "Read" >> beam.io.ReadFromParquetBatched(self._plan.queries, columns=["history"])
            # list of 1 .. BATCH_QUERIES histories
            | "Batch" >> beam.FlatMap(batches)
            | "Spread" >> beam.Reshuffle()
            # [k] int64, ascending: the keys of a batch
            | "Encode" >> beam.ParDo(EncodeKeys(self._plan))
            # [C] int64, ascending
            | "Union" >> beam.CombineGlobally(UnionOfKeys())
        )


def batches(table: pa.Table) -> Iterator[list[History]]:
    """Cuts the sound histories of a table with a column `history` into batches."""
    for batch in table.to_batches(max_chunksize=BATCH_QUERIES):
        histories = batch.column("history")
        if kept := histories.filter(pa.array(sound(histories))).to_pylist():
            yield kept


def pad(histories: list[History | None]) -> np.ndarray:
    """`[BATCH_QUERIES, H]` of ids, "" where there are none; H is the longest history's length, at least 1."""
    cleaned = [[item or "" for item in history or ()] for history in histories]
    width = max(1, *map(len, cleaned))
    cleaned += [[]] * (BATCH_QUERIES - len(cleaned))
    return np.array([history + [""] * (width - len(history)) for history in cleaned], dtype=object)


class EncodeKeys(beam.DoFn):
    """A batch of histories to the distinct code keys of their tokens; keys of ready lists, and no key, are left out."""

    def __init__(self, plan: Plan) -> None:
        self._model = plan.model
        self._space = plan.space
        self._shared = Shared()

    def setup(self) -> None:
        """Loads the query model, once a process."""
        self._keys = self._shared.acquire(self._load)

    def _load(self) -> Callable:
        return SavedModel(os.path.join(self._model, "query")).signature(["history"], ["keys"])

    def process(self, histories: list[History]) -> Iterator[np.ndarray]:
        """Yields `[k]` int64, ascending."""
        (keys,) = self._keys(pad(histories))
        Metrics.counter(COUNTERS, QUERIES_ENCODED).inc(len(histories))
        keys = np.unique(keys[: len(histories)])
        yield keys[(keys >= 0) & (keys < self._space.size)]


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
