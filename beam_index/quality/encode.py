"""The sample as the query model sees it."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from beam_index.codes import BATCH_QUERIES, pad
from beam_index.saved_model import SavedModel

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


def encode(model: pathlib.Path, histories: Sequence[list[str]]) -> Encoded:
    """Encodes histories of public item ids, always in batches of one shape.

    Raises:
      UserError: the query model does not give what it should.
    """
    query = SavedModel(str(model / "query")).signature(["history"], _OUTPUTS)
    starts = range(0, max(len(histories), 1), BATCH_QUERIES)  # an empty sample, too, has shapes
    batches = [list(histories[start : start + BATCH_QUERIES]) for start in starts]
    parts = [[output[: len(batch)] for output in query(pad(batch or [[]]))] for batch in batches]
    return Encoded(*(np.concatenate(outputs) for outputs in zip(*parts, strict=True)))
