"""What could be built within a budget, how accurate each was found to be, and which was chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

# Digits after the point of what goes into files: fewer than what another processor's rounding changes.
_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An index that could be built.

    Attributes:
      block: whether it has the completion block.
      score_bits: of a stored score.
      postings_per_code: the most a code's list keeps.
      bytes: of lists and block, at most.
    """

    block: bool
    score_bits: int
    postings_per_code: int
    bytes: int

    @property
    def sums(self) -> str:
        """How a servable of it makes sums if not told otherwise."""
        return "completed" if self.block else "sparse"

    def __str__(self) -> str:
        block = "block" if self.block else "no block"
        return f"{block}, {self.score_bits} bits, {self.postings_per_code:,} a code"


@dataclasses.dataclass(frozen=True)
class Measured:
    """A candidate and the accuracy of its `sums` over the sample."""

    candidate: Candidate
    accuracy: float


@dataclasses.dataclass(frozen=True)
class Budget:
    """A budget and what was made of it.

    Attributes:
      max_bytes: all that lists and block may take.
      measure: what accuracy is, "ndcg@50" by targets or "overlap@50" with exact scoring.
      queries: that accuracy is the mean of.
      fixed: names of the options that were given, and so not chosen.
      measured: all candidates, the best first.
    """

    max_bytes: int
    measure: str
    queries: int
    fixed: tuple[str, ...]
    measured: tuple[Measured, ...]

    @property
    def chosen(self) -> Candidate:
        """The best."""
        return self.measured[0].candidate

    def as_fields(self) -> Mapping[str, Any]:
        """It as a mapping, for files."""
        return {
            **{"max_bytes": self.max_bytes, "measure": self.measure, "queries": self.queries},
            "fixed": list(self.fixed),
            "candidates": [
                dataclasses.asdict(each.candidate)
                | {"sums": each.candidate.sums, "accuracy": round(each.accuracy, _DIGITS), "chosen": place == 0}
                for place, each in enumerate(self.measured)
            ],
        }

    def __str__(self) -> str:
        best = self.measured[0]
        return (
            f"{best.candidate}: {best.accuracy:.4f} ({self.measure}, {self.queries:,} queries), the best of"
            f" {len(self.measured)} within {self.max_bytes:,} bytes"
        )


def ranked(measured: list[Measured]) -> tuple[Measured, ...]:
    """The most accurate first; of equals, that of fewer bytes."""
    return tuple(sorted(measured, key=lambda each: (-each.accuracy, each.candidate.bytes)))
