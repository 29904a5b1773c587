"""What a comparison writes: compare.csv, compare.json, compare.md and compare.png."""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.comparison.contenders import MODELS
from pipeline.comparison.measuring import COLUMNS, SELECTED_BY, VALIDATION
from pipeline.comparison.picture import draw
from pipeline.comparison.statistics import by_model, mean, mean_of, ratios
from pipeline.comparison.store import Measured
from trainer.evaluation import METRICS

_PACKAGES = ("sparcode", "tensorflow", "tf-keras", "tensorflow-recommenders", "apache-beam", "numpy", "scipy")
_CAPTION = """\
Means and standard errors: over seeds where a model has several, over test users where it has one. Training seconds are
means over seeds; of a training that was stopped and resumed, only the last part counts. Every ranking is of the whole
catalogue but what the user has seen. Baselines and epochs were chosen on validation; nothing was chosen on test."""
_RATIOS = """\
Ratios of NDCG@50, SparCode as it is served by the sums that are best on validation. The standard error is that of pairs
(seeds, or users where there is one seed), by the delta method."""


@dataclasses.dataclass(frozen=True)
class Circumstances:
    """What a reader needs to know besides the numbers.

    Attributes:
      data: a line on the data.
      split: a line on the split.
      queries: of the test.
      command: that made this.
      seconds: wall time of the command.
      run_seconds: of all runs, those kept from before too.
    """

    data: str
    split: str
    queries: int
    command: str
    seconds: float
    run_seconds: float


def write(measured: Sequence[Measured], about: Circumstances, output: pathlib.Path) -> str:
    """Writes all four files and returns the table as text."""
    rows = [one.row for one in measured]
    (output / "compare.json").write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n")
    with (output / "compare.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    models = by_model(measured)
    table = "\n".join(_table(models))
    (output / "compare.md").write_text("\n".join(_page(models, table, about)) + "\n")
    estimates = {name: mean([one.row for one in found], SELECTED_BY) for name, found in models.items()}
    draw(estimates, about.data.partition(":")[0], output / "compare.png")
    return table


def _table(models: dict[str, list[Measured]]) -> Iterator[str]:
    """A Markdown table, one line a model."""
    header = ("model", "seeds", *METRICS, "validation ndcg@50", "training s", "index MB", "unknown codes")
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for name, found in models.items():
        rows = [one.row for one in found]
        cells = [
            *(name, str(len(rows)), *(str(mean(rows, metric)) for metric in METRICS)),
            f"{mean_of(rows, VALIDATION):.4f}",
            *(_cell(rows, "train_seconds", "{:.1f}"), _cell(rows, "index_bytes", "{:.2f}", 1e-6)),
            _cell(rows, "unknown_code_rate", "{:.2%}"),
        ]
        yield f"| {' | '.join(cells)} |"


def _cell(rows: Sequence[dict[str, Any]], column: str, form: str, scale: float = 1.0) -> str:
    """The mean of a column that some models do not have."""
    return "" if rows[0][column] is None else form.format(mean_of(rows, column) * scale)


def _page(models: dict[str, list[Measured]], table: str, about: Circumstances) -> Iterator[str]:
    yield from (
        "# Comparison",
        "",
        f"Data: {about.data}.",
        "",
        f"Split: {about.split}; {about.queries:,} test queries.",
    )
    yield from ("", table, "", _CAPTION, "")
    found = ratios(models)
    if found:
        yield from ("| ratio of NDCG@50 | |", "|---|---|")
        yield from (f"| {name} | {estimate} |" for name, estimate in found.items())
        yield from ("", _RATIOS, "")
    yield from (f"- {name}: {MODELS[name]}" for name in MODELS if name in models)
    yield from ("", "![NDCG@50 of each model](compare.png)", "", "Made by", "", "```sh", about.command, "```", "")
    yield f"in {about.seconds:.0f} s ({about.run_seconds:.0f} s over all runs, those kept from before too), with"
    yield f"Python {platform.python_version()}, {', '.join(map(_version, _PACKAGES))}; {os.cpu_count()} cores."


def _version(package: str) -> str:
    return f"{package} {importlib.metadata.version(package)}"
