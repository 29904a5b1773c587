"""One query, given by hand, as the query model takes it."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_index.plan import EXPORT_FORMAT
from beam_index.query_columns import require_columns
from beam_index.query_encoder import batches
from beam_index.query_faults import faults
from protos.artifact import read_manifest
from protos.errors import UserError
from protos.query_inputs import HISTORY, query_inputs, tensors

_SOURCE = "--features"


def one_query(model: pathlib.Path, history: Sequence[str], features: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inputs of the query model, by name: a batch of one.

    It is read and checked as a file of one query would be.

    Args:
      model: directory of the exported model.
      history: item ids, oldest first.
      features: what the query brings beside them, by name; what is left out or None is missing.

    Raises:
      UserError: the model knows no feature of a name, or a value contradicts what is declared of it.
    """
    inputs = query_inputs(read_manifest(model, EXPORT_FORMAT)["model"])
    names = [each.name for each in inputs]
    if unknown := [name for name in features if name not in names]:
        known = ", ".join(names) or "nothing beside the history"
        raise UserError(f"{_SOURCE} names {unknown[0]!r}; the queries of {model} bring {known}")
    columns = {name: _column(name, features.get(name)) for name in names}
    table = pa.table({HISTORY: pa.array([list(history)], pa.list_(pa.string())), **columns})
    require_columns(table.schema, inputs, _SOURCE, "give item ids")
    for fault in filter(None, faults(table, inputs)):
        raise UserError(f"{_SOURCE}: {fault}")
    (query,) = batches(table, inputs)
    return tensors(query, inputs)


def _column(name: str, value: Any) -> pa.Array:
    """The value of one query as a column."""
    try:
        return pa.array([value])
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"{_SOURCE}: {name!r} is {value!r}, which mixes types: {error}") from error
