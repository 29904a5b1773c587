"""Queries of a file, cut into batches of one shape and encoded by the exported query model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_index.query_columns import typed
from beam_index.query_faults import sound
from beam_index.saved_model import SavedModel
from protos.query_inputs import HISTORY, QueryInput, tensors

# Queries encoded together, always in this shape (see geometry.py).
BATCH_QUERIES = 256

Queries = dict[str, list[Any]]
"""Columns by name: of B queries the histories of item ids, and what they bring beside them, None where missing."""

Encoder = Callable[[Queries], list[np.ndarray]]
"""1 to BATCH_QUERIES queries to the outputs of the query model, `[B, ...]` each."""


def batches(table: pa.Table, inputs: Sequence[QueryInput]) -> Iterator[Queries]:
    """Cuts the sound queries of a table into batches."""
    for batch in table.to_batches(max_chunksize=BATCH_QUERIES):
        kept = batch.filter(pa.array(sound(batch, inputs)))
        if len(kept):
            features = {each.name: typed(kept.column(each.name), each).to_pylist() for each in inputs}
            yield {HISTORY: kept.column(HISTORY).to_pylist(), **features}


def pad(queries: Queries, inputs: Sequence[QueryInput]) -> list[np.ndarray]:
    """The tensors that the query model takes, of BATCH_QUERIES queries.

    The first is the history, `[BATCH_QUERIES, H]` of ids, "" where there are none; H is the longest history's
    length, at least 1. The others are those of `inputs`.
    """
    rest = [None] * (BATCH_QUERIES - len(queries[HISTORY]))
    return list(tensors({name: [*values, *rest] for name, values in queries.items()}, inputs).values())


def load_encoder(model: str | os.PathLike[str], inputs: Sequence[QueryInput], outputs: Sequence[str]) -> Encoder:
    """Loads the query model of an export.

    Raises:
      UserError: it takes other inputs, or does not give such outputs.
    """
    names = [HISTORY, *(each.name for each in inputs)]
    run = SavedModel(os.path.join(model, "query")).signature(names, outputs)

    def encode(queries: Queries) -> list[np.ndarray]:
        return [output[: len(queries[HISTORY])] for output in run(*pad(queries, inputs))]

    return encode
