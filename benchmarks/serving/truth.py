"""What SparCode's own model answers when it scores the whole catalogue."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from beam_index.quality.check import look_up, make_world, plan_of
from beam_index.quality.encode import encode
from beam_index.quality.replay import EXACT, Query, replay
from beam_index.saved_model import one_thread_per_op
from protos.query_inputs import HISTORY


def best_items(model: pathlib.Path, index: pathlib.Path, histories: Sequence[np.ndarray], k: int) -> np.ndarray:
    """The k items `[Q, k]` of the highest f(q, c) of all that are not in the history, on codewords; -1 is none.

    Args:
      model: the export.
      index: of it; what it holds does not matter.
      histories: catalogue rows.
      k: at least 1.
    """
    one_thread_per_op()
    plan = plan_of(model, index)
    encoded = encode(plan, {HISTORY: [list(map(str, rows)) for rows in histories]})
    overview, lists, found = look_up(plan, encoded)
    world = make_world(plan, encoded, found, overview, lists)._replace(completed=None)
    return replay(Query(encoded, found.keys, list(histories)), world, k)[EXACT].rows
