"""The quality of an index as one page that needs no other file, and as JSON."""

from __future__ import annotations

import html
import pathlib
from collections.abc import Iterable, Sequence

from beam_index.budget.choice import Budget
from beam_index.quality import pictures
from beam_index.quality.summary import CodeUse, Quality, number

JSON_FILE, HTML_FILE = "quality.json", "quality.html"

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; } svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .25rem .75rem; border-bottom: 1px solid #ddd; text-align: right; }
td:first-child, th:first-child { text-align: left; }
.advice { background: #f3f6fa; padding: .75rem 1rem; border-left: 4px solid #47a; }
"""
_SUMS_ADVICE = """
What the answers of the index keep of exact scoring, which scores the whole catalogue with the same codes. overlap@k is
the share of the exact k best that is found. dcg_ratio@k weighs each answer by its exact score, so near equals may be
exchanged for little; it stays near 1 where all scores are high, so read overlap first. rescored is the exact score of
the items of the lists: it tells what the lists lose as candidates, whatever sums are made of them (served, it is
averaged with the score of unquantised tokens). If rescored is low, raise --postings_per_code. If it is high and the
default is low, build with the completion block, or serve with --sums rescored.
"""
_TARGETS_ADVICE = """
Columns of ndcg and recall compare with what users really chose next. Where the index is as good by these as exact
scoring, a low overlap costs nothing that is known. Where exact scoring itself is poor, train a better model: no index
can mend it.
"""
_LENGTHS_ADVICE = """
Lists that are all as long as --postings_per_code allows were cut: longer ones would keep more. Many short or empty
lists (red) are of codes with which few items score above 0, often codes that training never used: then train with fewer
codewords, or index the observed codes only (--codes observed).
"""
_USE_ADVICE = """
How evenly queries use the codes of each slot. A perplexity far below the number of codewords, or one code with most of
the tokens, means that many queries are told apart by little: look at the perplexities of training (TensorBoard), and
at quantizer options. A sample cannot use more codes than it has tokens.
"""
_COVERAGE_ADVICE = """
Items in no list (red) are never answered, whatever the query. If there are many, raise --postings_per_code, or accept
that they are items that the model ranks low for everybody. Items in ready lists only are answered just after an
event that points to them.
"""
_UNKNOWN_ADVICE = """
Tokens whose own code has no list are answered by the nearest code that has one, which is a guess; those without any
list add nothing. If the share is above a few percent, index all codes (--codes all) or give more and fresher --queries.
Measured by the very queries whose codes were indexed it is 0 whatever the index: measure with later ones.
"""
_BUDGET_ADVICE = """
What could be built within --max_bytes, with the longest lists that fit for sure, the best first; accuracy is that of
the sums a servable uses by default, over the same sample. If the first two are near each other, the one without a block
answers faster. If the best is far below exact scoring, allow more bytes; bytes are at most, since rows count as the
dearest there are.
"""


def write_report(quality: Quality, directory: pathlib.Path) -> None:
    """Writes `quality.json` and `quality.html`; equal qualities give equal bytes."""
    (directory / JSON_FILE).write_text(quality.to_json(), encoding="utf-8")
    (directory / HTML_FILE).write_text(page(quality), encoding="utf-8")


def page(quality: Quality) -> str:
    """The whole page."""
    counts = quality.queries

    def picture(draw: pictures.Draw, there: object) -> list[str]:
        return [draw(quality)] if there else []

    body = [
        "<h1>Quality of the index</h1>",
        _paragraph(
            f"Fidelity {number(quality.fidelity)}: {quality.measure} with exact scoring, mean of {counts['sample']:,}"
            f" queries out of {counts['file']:,}, of which {counts['with_targets']:,} have targets."
        ),
        *_section(
            "Sums", [_sums_table(quality), *picture(pictures.fidelity, quality.fidelity is not None)], _SUMS_ADVICE
        ),
        *([_advice(_TARGETS_ADVICE)] if counts["with_targets"] else []),
        *(_budget(quality) if quality.budget is not None else []),
        *_section(
            "Lengths of lists",
            [_lengths_table(quality), *picture(pictures.list_lengths, quality.code_lists.count)],
            _LENGTHS_ADVICE,
        ),
        *_section(
            "Use of codes", [_use_table(quality.codes), *picture(pictures.code_use, quality.tokens)], _USE_ADVICE
        ),
        *_section("Coverage", [pictures.coverage(quality)], _COVERAGE_ADVICE),
        *_section("Unknown codes", [_unknown_table(quality)], _UNKNOWN_ADVICE),
    ]
    head = f'<meta charset="utf-8"><title>Quality of the index</title><style>{_STYLE}</style>'
    return "\n".join(["<!DOCTYPE html>", f'<html lang="en"><head>{head}</head><body>', *body, "</body></html>", ""])


def _section(title: str, parts: Sequence[str], advice: str) -> list[str]:
    return [f"<h2>{html.escape(title)}</h2>", *parts, _advice(advice)]


def _sums_table(quality: Quality) -> str:
    names = quality.measures
    rows = [
        [way + (" (default)" if way == quality.default_sums else ""), *(number(values.get(name)) for name in names)]
        for way, values in quality.sums.items()
    ]
    return _table(["sums", *names], rows)


def _budget(quality: Quality) -> list[str]:
    return _section("Budget", [_budget_table(quality.budget), pictures.budget(quality)], _BUDGET_ADVICE)


def _budget_table(budget: Budget) -> str:
    rows = [
        [
            f"{each.candidate} (chosen)" if place == 0 else str(each.candidate),
            each.candidate.sums,
            f"{each.candidate.bytes:,}",
            number(each.accuracy),
        ]
        for place, each in enumerate(budget.measured)
    ]
    return _table([f"index within {budget.max_bytes:,} bytes", "sums", "bytes at most", budget.measure], rows)


def _lengths_table(quality: Quality) -> str:
    kinds = {"of codes": quality.code_lists, "ready": quality.ready_lists}
    names = list(dict.fromkeys(name for lists in kinds.values() for name in lists.quantiles))
    rows = [
        [
            kind,
            f"{lists.count:,}",
            f"{lists.empty:,}",
            *(f"{lists.quantiles[name]:,.0f}" if name in lists.quantiles else number(None) for name in names),
            number(lists.gini),
        ]
        for kind, lists in kinds.items()
    ]
    return _table(["lists", "count", "empty", *names, "Gini"], rows)


def _use_table(codes: Sequence[CodeUse]) -> str:
    rows = [
        [
            *(f"{count:,}" for count in (use.slot, use.codes, use.tokens, use.used)),
            f"{use.perplexity:,.1f}",
            number(use.most_used_share),
        ]
        for use in codes
    ]
    return _table(["slot", "codes", "tokens", "codes used", "perplexity", "share of the most used"], rows)


def _unknown_table(quality: Quality) -> str:
    row = [f"{quality.tokens:,}", number(quality.unknown), number(quality.without_list)]
    return _table(["tokens", "own code has no list", "no list at all"], [row])


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [_row("th", head), *(_row("td", row) for row in rows)]
    return "\n".join(["<table>", *lines, "</table>"])


def _row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _paragraph(text: str, kind: str = "") -> str:
    return f"<p{kind}>{html.escape(' '.join(text.split()))}</p>"


def _advice(text: str) -> str:
    return _paragraph(text, ' class="advice"')
