"""What the curves are written as: curves.csv, curves.json, curves.md and curves.png."""

from __future__ import annotations

import csv
import json
import pathlib
from collections.abc import Iterator, Sequence

from pipeline.curves.measure import METRICS, SUMS, Point, Size, standard_error
from pipeline.curves.picture import draw

WHOLE_BITS = 32
_LOSS_METRIC = "ndcg@50"
_CAPTION = """\
Every row is a model that was exported, served and asked over gRPC; the whole catalogue competes but what the user has
seen. Bytes are those of the index files that the sums need: the completion block counts for completed sums only."""
_BITS_CAPTION = """\
Bytes a posting are those of all posting lists, ready ones included, over their postings. The loss is that of NDCG@50
against lists of 32 bits of the same length, in percent of theirs, with the standard error of that over queries;
below zero is a gain."""


def write(points: Sequence[Point], about: str, command: str, output: pathlib.Path) -> str:
    """Writes all four files and returns the tables as text.

    Args:
      points: all that was measured.
      about: a line on data and queries.
      command: that made this.
      output: directory.
    """
    rows = [point.row() for point in points]
    bits = list(bits_rows(points))
    (output / "curves.json").write_text(json.dumps({"points": rows, "bits": bits}, indent=1, allow_nan=False) + "\n")
    with (output / "curves.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    tables = "\n".join([*_points_table(points), "", *_bits_table(bits)])
    page = ["# Accuracy against the bytes of the index", "", about, "", tables, "", _CAPTION, _BITS_CAPTION, ""]
    page += ["![Recall@50 and NDCG@50 against bytes](curves.png)", "", "Made by", "", "```sh", command, "```", ""]
    (output / "curves.md").write_text("\n".join(page))
    draw(points, about.partition(":")[0], output / "curves.png")
    return tables


def _points_table(points: Sequence[Point]) -> Iterator[str]:
    """A Markdown table, one line a point; for each way of making sums, the smaller index first."""
    header = ("sums", "postings a code", "bits", "index MB", *METRICS)
    yield from _head(header)
    for point in sorted(points, key=lambda point: (SUMS.index(point.sums), point.index_bytes)):
        scores = (f"{point.mean(metric):.4f}{_error(standard_error(point.per_query[metric]), 4)}" for metric in METRICS)
        size = point.size
        cells = (point.sums, f"{size.postings_per_code:,}", str(size.score_bits), f"{point.index_bytes / 1e6:.2f}")
        yield _line((*cells, *scores))


def bits_rows(points: Sequence[Point]) -> Iterator[dict[str, float | int | None]]:
    """For each length and bits: bytes a posting, and the loss of NDCG@50 by each way of making sums.

    A loss is None where there are no lists of 32 bits to compare with.
    """
    by_sums = {(point.size, point.sums): point for point in points}
    for size in dict.fromkeys(point.size for point in points):
        one = by_sums[size, SUMS[0]]
        row = {**size._asdict(), "bytes_a_posting": one.list_bytes / max(one.postings, 1)}
        for sums in SUMS:
            whole = by_sums.get((Size(size.postings_per_code, WHOLE_BITS), sums))
            row |= _loss(by_sums[size, sums], whole, sums)
        yield row


def _loss(point: Point, whole: Point | None, sums: str) -> dict[str, float | None]:
    """Percent, and its standard error: queries are pairs."""
    names = f"{sums}_loss_percent", f"{sums}_loss_error"
    if whole is None or not whole.mean(_LOSS_METRIC):
        return dict.fromkeys(names)
    scale = 100 / whole.mean(_LOSS_METRIC)
    losses = (whole.per_query[_LOSS_METRIC] - point.per_query[_LOSS_METRIC]) * scale
    return dict(zip(names, (float(losses.mean()), standard_error(losses)), strict=True))


def _bits_table(rows: Sequence[dict]) -> Iterator[str]:
    """A Markdown table of `bits_rows`."""
    yield from _head(("postings a code", "bits", "bytes a posting", *(f"loss, {sums}" for sums in SUMS)))
    for row in rows:
        losses = (
            "" if row[f"{sums}_loss_percent"] is None or row["score_bits"] == WHOLE_BITS else _percent(row, sums)
            for sums in SUMS
        )
        cells = f"{row['postings_per_code']:,}", str(row["score_bits"]), f"{row['bytes_a_posting']:.2f}"
        yield _line((*cells, *losses))


def _percent(row: dict, sums: str) -> str:
    return f"{row[f'{sums}_loss_percent']:.2f}%{_error(row[f'{sums}_loss_error'], 2)}"


def _error(error: float | None, digits: int) -> str:
    return "" if error is None else f" ± {error:.{digits}f}"


def _head(names: Sequence[str]) -> Iterator[str]:
    yield _line(names)
    yield f"|{'---|' * len(names)}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
