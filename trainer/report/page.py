"""The whole page: one file that asks the network for nothing and runs no script."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from trainer.report.markup import Section, text

_STYLE = pathlib.Path(__file__).with_name("page.css")
# Were a text of the data to slip through as markup, it could neither run nor load anything.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(title: str, about: str, summary: str, sections: Sequence[Section], made_by: str) -> str:
    """The page as a document.

    Args:
      title: of it.
      about: a line below.
      summary: markup below that.
      sections: in order.
      made_by: the command, for the last line.
    """
    links = "".join(f'<a href="#{each.anchor}">{text(each.title)}</a>' for each in sections)
    parts = "".join(
        f'<section id="{each.anchor}"><h2>{text(each.title)}</h2>{each.body}</section>\n' for each in sections
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE.read_text()}</style></head><body>"
        f'<div class="page"><header class="top"><h1>{text(title)}</h1><p>{text(about)}</p>'
        f'<div class="summary">{summary}</div></header>\n'
        f"<nav>{links}</nav>\n<main>\n{parts}</main>\n<footer>{text(made_by)}</footer></div></body></html>\n"
    )
