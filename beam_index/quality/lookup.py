"""Which list each token of a query looks up, by the rules of the servable."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from beam_index.quality.encode import Encoded
from protos.codes import CodeSpace

NO_KEY = -1


class Found(NamedTuple):
    """The lists of tokens.

    Attributes:
      keys: `[B, K]` int64, the list looked up; NO_KEY where there is none.
      fallback: `[B, K_u]` bool, where the own code of a quantised token has no list.
    """

    keys: np.ndarray
    fallback: np.ndarray


def find(queries: Encoded, listed: np.ndarray, space: CodeSpace) -> Found:
    """Finds the list of each token; that of a quantised one may be that of its slot's nearest code with a list.

    Args:
      queries: of a sample.
      listed: `[C]` int64, ascending: keys of all lists that are not empty, ready ones included.
      space: the model's codes.
    """
    keys = np.where(np.isin(queries.keys, listed), queries.keys, NO_KEY)
    fallback = keys[:, : queries.num_tokens] == NO_KEY
    scored = listed[listed < space.size]
    slots, codes = space.decode(scored)
    for query, token in np.argwhere(fallback):
        candidates = np.flatnonzero(slots == queries.keys[query, token] // space.codes_per_slot)
        if len(candidates):
            keys[query, token] = scored[candidates[_nearest(queries.distances[query, token], codes[candidates])]]
    return Found(keys, fallback)


def _nearest(distances: np.ndarray, codes: np.ndarray) -> int:
    """Position in `codes [C, M]` of the nearest by `distances [M, N]`; the first of equals."""
    return int(distances[np.arange(len(distances)), codes].sum(axis=1).argmin())
