"""What is wrong with data: each problem once, with how often, where first, what was found, and the cure."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

from protos.errors import UserError

MOST_EXAMPLES = 1_000
_SHOWN_EXAMPLES = 3
_SHOWN_LENGTH = 80


class Example(NamedTuple):
    """A place where a problem shows.

    Attributes:
      file: as people call it; "" where it is in none.
      row: of the file from 1, below a header line; None where it is in none.
      found: what is there.
    """

    file: str
    row: int | None
    found: str

    def __str__(self) -> str:
        place = f"{self.file}, row {self.row}" if self.row else self.file
        found = self.found if len(self.found) <= _SHOWN_LENGTH else f"{self.found[:_SHOWN_LENGTH]}..."
        return ": ".join(filter(None, [place, found]))


@dataclasses.dataclass
class Finding:
    """A problem of a column or of a whole source.

    Attributes:
      kind: one word or two for programs, such as `missing_value`.
      place: `interactions`, `items` or `users`.
      column: in the files; "" where it is of none.
      message: what is wrong.
      cure: what would be right.
      level: `error`, `warning`, or `share`: an error where more rows than allowed are bad.
      count: how often.
      examples: the first of them.
    """

    kind: str
    place: str
    column: str
    message: str
    cure: str
    level: Literal["error", "warning", "share"]
    count: int = 0
    examples: list[Example] = dataclasses.field(default_factory=list)


class Report:
    """Findings about the data of a schema.

    Args:
      max_bad_share: share of a source's rows that may be bad.
      stop_at_once: whether an error that needs no counting is raised when it is found.
    """

    def __init__(self, max_bad_share: float, stop_at_once: bool) -> None:
        self.max_bad_share, self._stop_at_once = max_bad_share, stop_at_once
        self.rows: dict[str, int] = {}
        self.bad_rows: dict[str, int] = {}
        self.left_out: dict[str, int] = {}
        self._findings: dict[tuple, Finding] = {}

    def add(self, finding: Finding, examples: list[Example], count: int | None = None) -> None:
        """Counts a finding with others of its kind and column.

        Args:
          finding: with neither count nor examples.
          examples: where.
          count: how often, if more often than there are examples.

        Raises:
          UserError: it is an error, and one stops at once.
        """
        known = self._findings.setdefault((finding.kind, finding.place, finding.column, finding.message), finding)
        known.count += len(examples) if count is None else count
        known.examples += examples[: MOST_EXAMPLES - len(known.examples)]
        if self._stop_at_once and finding.level == "error":
            raise UserError(self.text(known))

    def merge(self, other: Report) -> None:
        """Counts what another report, of other rows of the same sources, has found."""
        for mine, its in ((self.rows, other.rows), (self.bad_rows, other.bad_rows), (self.left_out, other.left_out)):
            for place, count in its.items():
                mine[place] = mine.get(place, 0) + count
        for found in other._findings.values():
            self.add(dataclasses.replace(found, count=0, examples=[]), found.examples, found.count)

    def leave_out(self, place: str, count: int) -> None:
        """Counts sound rows that are not wanted."""
        self.left_out[place] = self.left_out.get(place, 0) + count

    def level(self, finding: Finding) -> str:
        """`error` or `warning`, now that all rows are counted."""
        if finding.level != "share":
            return finding.level
        bad = max(finding.count, self.bad_rows.get(finding.place, 0) if finding.kind in NEEDED else 0)
        return "error" if bad > self.max_bad_share * self.rows.get(finding.place, 0) else "warning"

    def findings(self) -> list[Finding]:
        """All of them, errors first."""
        return sorted(self._findings.values(), key=self.level)

    def errors(self) -> int:
        """How many findings are errors."""
        return sum(self.level(finding) == "error" for finding in self._findings.values())

    def text(self, finding: Finding) -> str:
        """A finding for people."""
        where = f"{finding.place}.{finding.column}" if finding.column else finding.place
        rows = self.rows.get(finding.place, 0)
        of = f" of {rows:,} rows" if finding.level == "share" and rows else ""
        times = f" ({finding.count:,}{of})" if finding.count > 1 or of else ""
        shown = "; ".join(map(str, finding.examples[:_SHOWN_EXAMPLES]))
        more = "; and more" if finding.count > _SHOWN_EXAMPLES and shown else ""
        return f"{where}: {finding.message}{times}" + (f": {shown}{more}" if shown else "") + f". {finding.cure}"

    def to_json(self) -> list[dict[str, Any]]:
        """All findings as plain values, with up to MOST_EXAMPLES places each."""
        return [
            {**dataclasses.asdict(finding), "level": self.level(finding)}
            | {"examples": [example._asdict() for example in finding.examples]}
            for finding in self.findings()
        ]

    def require_sound(self) -> list[str]:
        """The warnings as text.

        Raises:
          UserError: there is an error; the message has all of them.
        """
        texts = {"error": [], "warning": []}
        for finding in self.findings():
            texts[self.level(finding)].append(self.text(finding))
        if texts["error"]:
            raise UserError("\n  ".join([*texts["error"], _CHECK_IT]))
        return texts["warning"]


# Kinds that make a row bad as a whole; of others only a value is lost.
NEEDED = ("missing_value", "wrong_value", "malformed_row")
_CHECK_IT = (
    "`python -m trainer.data check --schema FILE` lists all that is wrong; max_bad_share in the schema says what share"
    " of rows may be left out"
)
