"""Classes that numbers fall into, with names to put under bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_DAY = 86_400


class Classes(NamedTuple):
    """Half-open classes, the last one without an end.

    Attributes:
      edges: where each class begins, ascending.
      names: of the classes.
    """

    edges: Sequence[float]
    names: Sequence[str]

    def of(self, values: np.ndarray) -> np.ndarray:
        """The class of each value; what is below the first one is in the first one too."""
        return np.maximum(np.searchsorted(self.edges, values, side="right") - 1, 0)


def growing(factor: int, greatest: int, first: Sequence[int] = (0, 1)) -> Classes:
    """Classes of counts that get wider by a factor: 0, 1, 2 to 3, 4 to 7 ... for 2; none begins above `greatest`."""
    edges = list(first)
    while edges[-1] * factor <= greatest:
        edges.append(edges[-1] * factor)
    ends = [edge - 1 for edge in edges[1:]]
    names = [from_to(start, end) for start, end in zip(edges, ends, strict=False)]
    return Classes(edges, [*names, f"{edges[-1]:,}+"])


def from_to(start: int, end: int) -> str:
    """The name of the whole numbers from one to another."""
    return f"{start:,}" if start == end else f"{start:,}\N{EN DASH}{end:,}"


AGES = Classes(
    [0, _DAY, 7 * _DAY, 30 * _DAY, 91 * _DAY, 365 * _DAY],
    ["day", "week", "month", "quarter", "year", "older"],
)
"""Ages in seconds: less than a day, a week, ..."""
