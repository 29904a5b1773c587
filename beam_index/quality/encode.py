"""The sample as the query model sees it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from beam_index.plan import Plan
from beam_index.query_encoder import BATCH_QUERIES, Queries, load_encoder
from protos.query_inputs import HISTORY

_OUTPUTS = ("keys", "weights", "distances")


class Encoded(NamedTuple):
    """Encoded queries: K_u quantised tokens, then H events.

    Attributes:
      keys: `[B, K]` int64, K = K_u + H; -1 where there is no event or no list of it.
      weights: `[B, K]` float32, what the scores in each list count.
      distances: `[B, K_u, M, N]` float32, from each part of a token to each codeword of its codebook.
    """

    keys: np.ndarray
    weights: np.ndarray
    distances: np.ndarray

    @property
    def num_tokens(self) -> int:
        """K_u."""
        return self.distances.shape[1]


def encode(plan: Plan, queries: Queries) -> Encoded:
    """Encodes queries, always in batches of one shape.

    Args:
      plan: whose model encodes.
      queries: any number of them.

    Raises:
      UserError: the query model takes other inputs, or does not give what it should.
    """
    encoder = load_encoder(plan.model, plan.inputs, _OUTPUTS)
    count = len(queries[HISTORY])
    starts = range(0, max(count, 1), BATCH_QUERIES)  # an empty sample, too, has shapes
    parts = [
        encoder({name: values[start : start + BATCH_QUERIES] for name, values in queries.items()}) for start in starts
    ]
    return Encoded(*(np.concatenate(outputs) for outputs in zip(*parts, strict=True)))
