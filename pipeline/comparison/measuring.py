"""One run of a comparison: fit a model, rank the test queries, keep the rows."""

from __future__ import annotations

import functools
import math
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from pipeline.comparison.contenders import Run
from pipeline.comparison.store import Finished, Measured, Store
from pipeline.steps import build_index, export_servable, served
from trainer import baselines
from trainer.config import Config
from trainer.data import load
from trainer.data.interactions import Interactions
from trainer.data.splits import Split, split
from trainer.evaluation import METRICS, Ranker, evaluate
from trainer.late_interaction import LateInteraction
from trainer.model import SparCode
from trainer.ranking import ModelRanker
from trainer.sequence_model import SequenceModel
from trainer.task import Trained, export_trained, train
from trainer.two_tower import DistilledTwoTower, TwoTower

SUMS = ("sparse", "completed", "rescored")
SELECTED_BY = "ndcg@50"
VALIDATION = f"validation_{SELECTED_BY}"
# A row has all of these; None where one makes no sense of the model. `*_user_error` are standard errors over users;
# of several members, epochs are added up and the latest best epoch counts.
COLUMNS = (
    *("model", "seed", *METRICS, *(f"{metric}_user_error" for metric in METRICS), VALIDATION),
    *("train_seconds", "epochs", "best_epoch", "index_bytes", "unknown_code_rate", "tuned"),
)


class Bench(NamedTuple):
    """What all runs of a comparison have in common; it goes to worker processes as it is."""

    source: str
    config: Config
    store: Store

    @property
    def interactions(self) -> Interactions:
        """The data, read once in a process."""
        return _read(self.source)

    @property
    def parts(self) -> Split:
        """The split, made once in a process."""
        return _split(self.source, self.config.data.split)


_read = functools.lru_cache(maxsize=1)(load)


@functools.lru_cache(maxsize=1)
def _split(source: str, method: str) -> Split:
    return split(_read(source), method)


def execute(run: Run, bench: Bench) -> None:
    """Fits and measures one run, and keeps its rows."""
    start = time.perf_counter()
    measured = list(_rows(run, bench))
    bench.store.keep(run, Finished(measured, time.perf_counter() - start))
    tf.keras.backend.clear_session()  # a process has many runs


def _rows(run: Run, bench: Bench) -> Iterator[Measured]:
    if run.model in _BASELINES:
        yield _tuned(run, bench)
    elif run.variation and run.variation.of_index:
        # Not trained: the export is that of the model as configured.
        yield from _served_rows(run, bench, bench.store.directory(Run(run.model, run.seed)) / "export", {})
    else:
        trained = _train(run, bench)
        facts = {
            "train_seconds": trained.seconds,
            "epochs": sum(result.epochs for result in trained.results),
            "best_epoch": max(result.best_epoch for result in trained.results),
        }
        yield _measure(run, run.model, ModelRanker(trained.model), bench.parts, facts)
        if run.model == "sparcode":
            export = export_trained(trained, bench.parts, bench.store.directory(run) / "export")
            yield from _served_rows(run, bench, export, facts)


def _tuned(run: Run, bench: Bench) -> Measured:
    """A baseline with the best of its grid's configurations."""
    start = time.perf_counter()
    baseline, grid = _BASELINES[run.model]
    fit = baseline.sharing_fit() if hasattr(baseline, "sharing_fit") else baseline.fit
    tuned = baselines.tune(fit, grid, bench.parts)
    facts = {"train_seconds": time.perf_counter() - start, "tuned": str(tuned.config)}
    return _measure(run, run.model, tuned.ranker, bench.parts, facts)


_BASELINES: dict[str, tuple[type, tuple]] = {
    "popularity": (baselines.Popularity, baselines.POPULARITY_GRID),
    "segments": (baselines.UserSegments, baselines.USER_SEGMENTS_GRID),
    "item_knn": (baselines.ItemKNN, baselines.ITEM_KNN_GRID),
    "ease": (baselines.EASE, baselines.EASE_GRID),
}


def _train(run: Run, bench: Bench) -> Trained:
    """Trains, or restores what was trained."""
    job_dir = bench.store.directory(run) / "model"
    return train(bench.parts, run.config(bench.config), job_dir, _kind(run, bench))


def _kind(run: Run, bench: Bench) -> Callable[[Config, np.ndarray], SequenceModel]:
    if run.model == "two_tower":
        return TwoTower
    if run.model == "distilled_two_tower":
        return functools.partial(DistilledTwoTower, teacher=_train(Run("all_to_all", run.seed), bench).model)
    if run.model == "late_interaction":
        return LateInteraction
    return SparCode


def _served_rows(run: Run, bench: Bench, export: pathlib.Path, facts: dict[str, Any]) -> Iterator[Measured]:
    """The rows of an exported SparCode that is indexed and served, one for each way of making sums."""
    directory = bench.store.directory(run)
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="served-", dir=directory) as scratch:
        index = pathlib.Path(scratch) / "index"
        flags = run.variation.index_flags() if run.variation else []
        facts = facts | {"index_bytes": build_index(export, index, flags).total_bytes}
        for sums in SUMS:
            base = pathlib.Path(scratch) / sums
            export_servable(export, index, base, sums)
            with served(base, bench.parts) as ranker:
                measured = _measure(run, f"{run.model}_{sums}", ranker, bench.parts, facts)
                measured.row["unknown_code_rate"] = ranker.unknown_code_rate
            yield measured


def _measure(run: Run, name: str, ranker: Ranker, parts: Split, facts: dict[str, Any]) -> Measured:
    """The row of a ranker."""
    validation = evaluate(ranker, parts.queries("validation"), (SELECTED_BY,)).means()[SELECTED_BY]
    test = evaluate(ranker, parts.queries("test"), progress="test")
    errors = {
        f"{metric}_user_error": None if math.isnan(error) else error for metric, error in test.standard_errors().items()
    }
    found = {"model": run.label(name), "seed": run.seed, **test.means(), **errors, VALIDATION: validation, **facts}
    return Measured(dict.fromkeys(COLUMNS) | found, test.per_user[SELECTED_BY])
