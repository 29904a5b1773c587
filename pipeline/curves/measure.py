"""Builds, serves and measures one export by indexes of several sizes."""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

from beam_index.build import Report
from pipeline.steps import build_index, export_servable, served
from protos.artifact import read_manifest
from protos.errors import UserError
from serving.export import MODEL_FORMAT
from trainer.data.splits import EvaluationQueries, Split
from trainer.evaluation import evaluate

SUMS = ("sparse", "completed", "rescored")
METRICS = ("recall@50", "ndcg@50")


class Size(NamedTuple):
    """What an index is built with."""

    postings_per_code: int
    score_bits: int

    def __str__(self) -> str:
        return f"{self.postings_per_code:,} postings a code, {self.score_bits} bits"


@dataclasses.dataclass(frozen=True)
class Point:
    """One served model.

    Attributes:
      sums: how it makes scores.
      size: of its index.
      postings: of all lists, ready ones included.
      list_bytes: of the files of posting lists.
      block_bytes: of the completion block; 0 where the sums need none.
      per_query: metric -> `[Q]` float64.
    """

    sums: str
    size: Size
    postings: int
    list_bytes: int
    block_bytes: int
    per_query: dict[str, np.ndarray]

    @property
    def index_bytes(self) -> int:
        """Of all that the sums need."""
        return self.list_bytes + self.block_bytes

    def mean(self, metric: str) -> float:
        """Over the queries."""
        return float(self.per_query[metric].mean())

    def row(self) -> dict[str, Any]:
        """It as plain values; `*_error` are standard errors over queries."""
        row = {
            **{"sums": self.sums, **self.size._asdict(), "postings": self.postings},
            **{"index_bytes": self.index_bytes, "list_bytes": self.list_bytes, "block_bytes": self.block_bytes},
        }
        for metric, values in self.per_query.items():
            row[metric] = self.mean(metric)
            row[f"{metric}_error"] = standard_error(values)
        return row


def standard_error(values: np.ndarray) -> float | None:
    """Of the mean of `values [Q]`; None for one query."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def require_export_of(export: pathlib.Path, parts: Split) -> None:
    """Raises UserError unless the export is whole and its catalogue that of the data's training part."""
    read_manifest(export, MODEL_FORMAT)
    found = pq.read_table(export / "items.parquet", columns=["item_id"])["item_id"].to_pylist()
    if found != list(parts.catalogue.item_id):
        raise UserError(
            f"--model {export} has a catalogue of {len(found):,} items, the training part of --data"
            f" {len(parts.catalogue):,}, and they are not the same, row by row; give the data and --data_split that the"
            " model was trained with"
        )


def points(
    export: pathlib.Path, parts: Split, queries: EvaluationQueries, size: Size, scratch: pathlib.Path
) -> Iterator[Point]:
    """Builds one index, and serves and measures it by each way of making sums.

    Args:
      export: of the model.
      parts: the data.
      queries: of it, to measure by.
      size: of the index.
      scratch: directory in which index and servables stand meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix="index-", dir=scratch) as directory:
        index = pathlib.Path(directory) / "index"
        flags = ["--postings_per_code", str(size.postings_per_code), "--score_bits", str(size.score_bits)]
        report = build_index(export, index, [*flags, "--quality_queries=0", "--no-progress"])
        lists, block = (_bytes(report, kind) for kind in ("postings", "block"))
        for sums in SUMS:
            base = pathlib.Path(directory) / sums
            export_servable(export, index, base, sums)
            with served(base, parts) as ranker:
                found = evaluate(ranker, queries, METRICS, progress="asking").per_user
            yield Point(sums, size, report.manifest["postings"], lists, block if sums == "completed" else 0, found)
    tf.keras.backend.clear_session()  # a command has many servables


def _bytes(report: Report, kind: str) -> int:
    return sum(file["bytes"] for name, file in report.manifest["files"].items() if name.startswith(f"{kind}-"))
