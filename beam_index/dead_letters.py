"""Bad records: left out of an index, and kept with the reason, so that one of millions stops no build."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from protos.artifact import writing
from protos.errors import UserError

DEAD_LETTERS = "dead_letters.jsonl"
# Reasons that an error quotes.
_QUOTED = 3


class DeadLetter(NamedTuple):
    """A record that is not in the index.

    Attributes:
      kind: "item", "ready_list" or "query".
      row: of the file that it was read from, from 0.
      id: item id of an item, key of a ready list; None where it has none.
      reason: what is wrong with it.
    """

    kind: str
    row: int
    id: str | int | None
    reason: str


class Source(NamedTuple):
    """Where the records of a kind come from.

    Attributes:
      name: of the file, for errors.
      cure: what errors say to do.
    """

    name: str
    cure: str


def require_few(letters: Sequence[DeadLetter], total: int, max_share: float, source: Source) -> None:
    """Holds the bad records of a kind against what is allowed.

    Args:
      letters: all of that kind, ascending.
      total: records there are, bad ones included.
      max_share: of them that may be bad.
      source: where they come from.

    Raises:
      UserError: more are bad, or all are.
    """
    bad = len(letters)
    if not bad or (bad < total and bad / total <= max_share):
        return
    reasons = "; ".join(f"row {letter.row}: {letter.reason}" for letter in letters[:_QUOTED])
    more = f" and {bad - _QUOTED:,} more" if bad > _QUOTED else ""
    limit = "an index needs one that is not" if bad == total else f"--max_bad_share {max_share:g} allows fewer"
    raise UserError(
        f"{source.name}: {bad:,} of {total:,} records are bad ({bad / total:.3%}), {limit}: {reasons}{more};"
        f" {source.cure}"
    )


@dataclasses.dataclass(frozen=True)
class Tally:
    """Records of a kind, counted where they come in and, independently, where they are used.

    Attributes:
      found: records of the input.
      used: those that the index was made from.
      bad: those that are dead letters.
      removed: items that the catalogue itself marks as removed.
    """

    found: int
    used: int
    bad: int
    removed: int = 0

    def as_json(self) -> dict[str, int]:
        """For the manifest: `in`, `used`, `bad`, and `removed` where there are any."""
        counts = {"in": self.found, "used": self.used, "bad": self.bad}
        return counts | ({"removed": self.removed} if self.removed else {})

    @property
    def adds_up(self) -> bool:
        """Whether every record that came in is accounted for."""
        return self.found == self.used + self.bad + self.removed


def write_dead_letters(directory: str | os.PathLike[str], letters: Iterable[DeadLetter]) -> None:
    """Writes `dead_letters.jsonl`, a JSON object a line by ascending kind and row; no file if there are none."""
    lines = [json.dumps(letter._asdict(), ensure_ascii=False) + "\n" for letter in sorted(letters, key=_order)]
    path = pathlib.Path(directory) / DEAD_LETTERS
    if lines:
        with writing(path):
            path.write_text("".join(lines), encoding="utf-8")


def _order(letter: DeadLetter) -> tuple[str, int]:
    return letter.kind, letter.row
