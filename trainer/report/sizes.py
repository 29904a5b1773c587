"""Recall against the size of an index: what shorter lists cost."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from protos.errors import UserError
from trainer.data.splits import EvaluationQueries
from trainer.evaluation import Ranker, evaluate
from trainer.report.cutting import SUMS, CutRanker, thresholds
from trainer.report.exported import Exported
from trainer.report.markup import Section, beside, figure, figures, lead, note, table
from trainer.report.pictures import MUTED, colour, drawing, key, powers, svg
from trainer.report.run import Run

_LENGTHS = (10, 30, 100, 300, 1000, 3000)
_METRIC = "recall@50"
# Bytes of a posting at the default of 16 bits a score, and of a pair of the completion block.
_POSTING_BYTES, _PAIR_BYTES = 5, 1
# Queries x items that are ranked anew for every length.
_MOST_SCORES = 1 << 24
_LEAST_QUERIES = 100
_BITS = 16
_SIZES_SAID = (
    f"Cut from exact scores, without building: {_POSTING_BYTES} bytes a posting, ready lists included, and for"
    " completed sums a byte for every code and item. pipeline.curves measures the same as it is served."
)


def sizes_section(run: Run, curves: pathlib.Path | None) -> Section:
    """Recall@50 for lists of several lengths, cut here; and as it was served, where `pipeline.curves` measured it."""
    served = None if curves is None else read_curves(curves)
    sample = run.queries.sample(max(_LEAST_QUERIES, _MOST_SCORES // run.exported.num_items), run.config.training.seed)
    points = list(_points(run.exported, sample, run.batch_size))
    exact = _recall(run.exported, sample, run.batch_size)
    numbers = {"queries": len(sample), "exact": exact, "points": points, "served": served}
    body = [
        lead(
            f"An index keeps the best items of each code. With the whole catalogue scored, Recall@50 is {exact:.4f} on"
            f" {len(sample):,} test queries; the lines show what is left of it with lists of"
            f" {', '.join(f'{length:,}' for length in _lengths(run.exported))} items."
        ),
        beside(_picture(points, exact), _table(points) + note(_SIZES_SAID)),
        *([figures([_served(served)])] if served else []),
    ]
    return Section("Index size", "".join(body), numbers)


def _table(points: Sequence[Mapping[str, Any]]) -> str:
    rows = {
        length: [cell for each in points if each["length"] == length for cell in (_megabytes(each), _score(each))]
        for length in dict.fromkeys(each["length"] for each in points)
    }
    head = ["items of a list", *(cell for sums in SUMS for cell in (f"{sums}, MB", "Recall@50"))]
    return table(head, [[f"up to {length:,}", *cells] for length, cells in rows.items()])


def _megabytes(point: Mapping[str, Any]) -> str:
    return f"{point['bytes'] / 1e6:,.2f}"


def _score(point: Mapping[str, Any]) -> str:
    return f"{point[_METRIC]:.4f}"


def _lengths(exported: Exported) -> list[int]:
    return [length for length in _LENGTHS if length < exported.num_items] or [exported.num_items]


def _points(exported: Exported, queries: EvaluationQueries, batch_size: int) -> Iterator[dict[str, Any]]:
    for sums in SUMS:
        for length in _lengths(exported):
            postings = estimated_postings(exported, length) + exported.ready_postings
            block = _PAIR_BYTES * exported.space.size * exported.num_items if sums == "completed" else 0
            yield {
                "sums": sums,
                "length": length,
                "postings": postings,
                "bytes": _POSTING_BYTES * postings + block,
                _METRIC: _recall(CutRanker(exported, length, sums), queries, batch_size),
            }


def estimated_postings(exported: Exported, length: int) -> int:
    """Postings of the lists of all codes; of very many codes, of some at even distances, times what is left out."""
    keys = exported.some_keys()
    contributions = exported.contributions(keys)
    kept = (contributions > thresholds(contributions, length)[:, None]).sum()
    return round(int(kept) * exported.space.size / len(keys))


def _recall(ranker: Ranker, queries: EvaluationQueries, batch_size: int) -> float:
    return evaluate(ranker, queries, [_METRIC], batch_size).means()[_METRIC]


def read_curves(path: pathlib.Path) -> list[Mapping[str, Any]]:
    """The points of a curves.json of `pipeline.curves`, those of one number of bits: 16 if there are such.

    Raises:
      UserError: it is no such file.
    """
    try:
        points = json.loads(path.read_text())["points"]
        bits = {point["score_bits"] for point in points}
        chosen = _BITS if _BITS in bits else max(bits)
        names = ("sums", "index_bytes", "postings_per_code", "score_bits", _METRIC)
        return [{name: point[name] for name in names} for point in points if point["score_bits"] == chosen]
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise UserError(f"--curves {path} is no curves.json of pipeline.curves ({found})") from error


_ADVICE = {
    "good": "lines that reach the dashed one early: take the shortest lists that do.",
    "bad": "lines that still rise at the right: scores are spread over many items. Use completed or rescored sums, or"
    " train with loss.sparsity_weight.",
}


def _picture(points: Sequence[Mapping[str, Any]], exact: float) -> str:
    curves = {sums: [(each["bytes"], each[_METRIC]) for each in points if each["sums"] == sums] for sums in SUMS}
    shows = "Recall@50 by megabytes of lists and block; dashed: the whole catalogue scored."
    return figure(_drawn(curves, "sizes-cut", shows, exact), "Recall against size", shows, **_ADVICE)


def _served(points: Sequence[Mapping[str, Any]]) -> str:
    curves: dict[str, list[tuple[float, float]]] = {}
    for each in points:
        curves.setdefault(each["sums"], []).append((each["index_bytes"], each[_METRIC]))
    shows = f"Recall@50 through the server, by pipeline.curves, with scores of {points[0]['score_bits']} bits."
    return figure(_drawn(curves, "sizes-served", shows, None), "As served", shows)


def _drawn(curves: Mapping[str, Sequence[tuple[float, float]]], name: str, says: str, exact: float | None) -> str:
    made, axes = drawing()
    for number, (sums, found) in enumerate(curves.items()):
        sizes, recalls = zip(*sorted(found), strict=True)
        axes.plot([size / 1e6 for size in sizes], recalls, ".-", color=colour(number), label=sums)
    if exact is not None:
        axes.axhline(exact, color=MUTED, linestyle="--", linewidth=1)
    key(axes)
    powers(axes.xaxis, (1, 2, 5))
    least = min(recall for found in curves.values() for _, recall in found)
    axes.set(xlabel="index, MB", ylabel="Recall@50", ylim=(0.9 * least, None))
    return svg(made, name, says)
