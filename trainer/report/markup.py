"""The parts of the page. Whatever text comes in is escaped here and nowhere else."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

_LONGEST_NAME = 120
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


class Section(NamedTuple):
    """A part of the page.

    Attributes:
      title: of it; its anchor is made from it.
      body: markup.
      numbers: what is drawn and said in it, for programs.
    """

    title: str
    body: str
    numbers: Mapping[str, Any]

    @property
    def anchor(self) -> str:
        """What a link to it names."""
        return re.sub(r"[^a-z]+", "-", self.title.lower()).strip("-")


def text(words: object) -> str:
    """Text as markup."""
    return html.escape(str(words))


def named(words: object) -> str:
    """A name out of the data as markup: of a bearable length, and its direction of writing is its own affair."""
    words = str(words)
    return f"<bdi>{text(words if len(words) <= _LONGEST_NAME else words[: _LONGEST_NAME - 1] + ELLIPSIS)}</bdi>"


def lead(words: str) -> str:
    """The sentence or two that a section begins with."""
    return f'<p class="lead">{text(words)}</p>'


def note(words: str) -> str:
    """A remark in small print."""
    return f'<p class="note">{text(words)}</p>'


def heading(words: str) -> str:
    """A heading within a section."""
    return f"<h3>{text(words)}</h3>"


def facts(values: Mapping[str, object]) -> str:
    """Numbers to be seen at a glance, each with its name below."""
    cells = "".join(f"<div><dd>{text(value)}</dd><dt>{text(name)}</dt></div>" for name, value in values.items())
    return f'<dl class="facts">{cells}</dl>'


def figure(picture: str, title: str, shows: str, good: str = "", bad: str = "") -> str:
    """A picture (markup) with what it shows, and what a good and a bad one look like."""
    advice = "".join(
        f'<span class="{kind}"><b>{word}</b> {text(words)}</span>'
        for kind, word, words in (("good", "Good:", good), ("bad", "Look out:", bad))
        if words
    )
    caption = f"<figcaption><span>{text(shows)}</span>{advice}</figcaption>"
    return f"<figure><h4>{text(title)}</h4>{picture}{caption}</figure>"


def figures(parts: Iterable[str], wide: bool = False) -> str:
    """Figures side by side where there is room, three of them or, wide, two."""
    return f'<div class="figures{" wide" if wide else ""}">{"".join(parts)}</div>'


def beside(picture: str, words: str) -> str:
    """A figure with a table or words at its side."""
    return f'<div class="beside">{picture}<div>{words}</div></div>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; the first column is of names, the others of numbers."""
    lines = [_row("th", head), *(_row("td", row) for row in rows)]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def items(titles: Iterable[str], ordered: bool = True) -> str:
    """A list of titles, which `named` has made markup."""
    tag = "ol" if ordered else "ul"
    return f"<{tag}>{''.join(f'<li>{title}</li>' for title in titles)}</{tag}>"


def _row(tag: str, cells: Sequence[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{text(cell)}</{tag}>' for cell in cells)}</tr>"
