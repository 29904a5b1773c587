"""How unevenly lists are filled and codes are used."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from beam_index.quality.measures import gini, perplexity
from beam_index.quality.summary import CodeUse, Lengths
from protos.codes import CodeSpace

_QUANTILES = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "max": 1.0}
_CLASSES = 20


def lengths(counts: np.ndarray) -> Lengths:
    """Describes lengths `[C]` of lists."""
    if not len(counts):
        return Lengths(0, 0, {}, None, ())
    quantiles = {name: float(np.quantile(counts, share, method="inverted_cdf")) for name, share in _QUANTILES.items()}
    return Lengths(len(counts), int((counts == 0).sum()), quantiles, gini(counts), tuple(_histogram(counts)))


def _histogram(counts: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Classes of lengths as wide as one another, at most _CLASSES; empty lists have one of their own."""
    if (counts == 0).any():
        yield 0, 0, int((counts == 0).sum())
    longest = int(counts.max())
    width = max(1, -(-longest // _CLASSES))
    for least in range(1, longest + 1, width):
        greatest = least + width - 1
        yield least, greatest, int(((counts >= least) & (counts <= greatest)).sum())


def code_use(keys: np.ndarray, space: CodeSpace) -> tuple[CodeUse, ...]:
    """Use of the codes of each slot by tokens with `keys [B, K_u]`."""
    slots = keys // space.codes_per_slot
    return tuple(_of_slot(slot, keys[slots == slot], space.codes_per_slot) for slot in range(space.num_slots))


def _of_slot(slot: int, keys: np.ndarray, codes: int) -> CodeUse:
    counts = np.sort(np.unique(keys, return_counts=True)[1])[::-1]
    share = float(counts[0] / len(keys)) if len(keys) else None
    return CodeUse(slot, len(keys), codes, len(counts), perplexity(counts), share, tuple(counts.tolist()))
