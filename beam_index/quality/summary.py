"""The quality of an index: what was measured, in words and numbers that are the same each time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

from beam_index.budget.choice import Budget

# Digits after the point: fewer than what another processor's rounding changes.
_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class Lengths:
    """How long the lists of one kind are.

    Attributes:
      count: lists, empty ones included.
      empty: those without any item.
      quantiles: the least, 10%, median, 90% and the greatest length; empty if there are no lists.
      gini: inequality of lengths, 0 to 1; None if nothing is in any list.
      histogram: [least length, greatest length, lists] of each class.
    """

    count: int
    empty: int
    quantiles: Mapping[str, float]
    gini: float | None
    histogram: tuple[tuple[int, int, int], ...]


@dataclasses.dataclass(frozen=True)
class CodeUse:
    """How the sample uses the codes of one slot.

    Attributes:
      slot: of the code space.
      tokens: quantised tokens of the sample in that slot.
      codes: that there are in the slot.
      used: distinct ones used.
      perplexity: as many codes used equally would be as diverse.
      most_used_share: share of tokens with the most used code; None if there are no tokens.
      counts: tokens of each code used, most used first.
    """

    slot: int
    tokens: int
    codes: int
    used: int
    perplexity: float
    most_used_share: float | None
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Quality:
    """What `check` found.

    Attributes:
      queries: of the file, in the sample, and with targets in the sample.
      default_sums: which a servable of this index uses if not told otherwise: completed if it has a block.
      cut: k of `fidelity`: the largest asked.
      fidelity: mean overlap@cut of the default sums with exact scoring; None if no query has exact answers.
      sums: way of making sums -> measure -> mean over the queries that have it; None if none has.
      items: of the catalogue.
      items_in_no_list: those that lists, ready ones included, can never answer.
      items_in_no_code_list: those that lists of codes never answer.
      code_lists: their lengths.
      ready_lists: their lengths.
      codes: use of the codes, slot by slot.
      tokens: quantised tokens of the sample.
      unknown: share of them whose own code has no list, so that the nearest listed code serves.
      without_list: share of them whose slot has no list at all.
      budget: what the build chose within --max_bytes; None for an index that is measured without its build.
    """

    queries: Mapping[str, int]
    default_sums: str
    cut: int
    fidelity: float | None
    sums: Mapping[str, Mapping[str, float | None]]
    items: int
    items_in_no_list: int
    items_in_no_code_list: int
    code_lists: Lengths
    ready_lists: Lengths
    codes: tuple[CodeUse, ...]
    tokens: int
    unknown: float | None
    without_list: float | None
    budget: Budget | None = None

    @property
    def measure(self) -> str:
        """What `fidelity` is, in words."""
        return f"overlap@{self.cut} of {self.default_sums} sums"

    @property
    def measures(self) -> list[str]:
        """Names of all measures of sums, in order; exact scoring has only the last of them."""
        return list(self.sums[self.default_sums])

    @property
    def verdict(self) -> str:
        """The fidelity and what it is of, in one line."""
        return f"{number(self.fidelity)} ({self.measure} with exact scoring, {self.queries['sample']:,} queries)"

    def to_json(self) -> str:
        """All of it as JSON, the same text for the same numbers."""
        fields = dataclasses.asdict(self) | {"budget": self.budget and self.budget.as_fields()}
        return json.dumps(_rounded(fields), indent=1, sort_keys=True) + "\n"

    def __str__(self) -> str:
        """A summary for the terminal."""
        names = self.measures
        lines = [
            f"queries           {self.queries['sample']:,} of {self.queries['file']:,},"
            f" {self.queries['with_targets']:,} with targets",
            f"fidelity          {self.verdict}",
            " " * 18 + "".join(f"{name:>14}" for name in names),
            *(
                f"  {way:<16}" + "".join(f"{number(values[name]) if name in values else '':>14}" for name in names)
                for way, values in self.sums.items()
            ),
            f"items in no list  {self.items_in_no_list:,} of {self.items:,}",
            f"unknown codes     {number(self.unknown)} of tokens",
        ]
        return "\n".join(line.rstrip() for line in lines)


def number(value: float | None) -> str:
    """Four digits, or a dash where nothing was there to be measured."""
    return "-" if value is None else f"{value:.4f}"


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
