"""A finished run and the data it was made from, opened to be looked at."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from protos.errors import UserError
from trainer import config as configuration
from trainer.calibration import fit_event_lists
from trainer.config import Config
from trainer.data import load
from trainer.data.interactions import Interactions
from trainer.data.prepared import is_prepared
from trainer.data.splits import EvaluationQueries, Split, split
from trainer.ensemble import AnySparCode, Ensemble, put_together
from trainer.evaluation import Ranker
from trainer.model import SparCode
from trainer.origin import Origin, read_origin
from trainer.ranking import ModelRanker
from trainer.report.exported import Exported
from trainer.sequence_model import SequenceModel
from trainer.split_data import SplitData
from trainer.task import MODELS
from trainer.warm_start import ITEMS_FILE, member_directory

# Scores of (code, item) pairs that a page may cost, about.
_MOST_PAIRS = 1 << 30
_LEAST_QUERIES = 200
_KINDS = {kind.__name__: kind for kind in MODELS.values()}


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What the sections look at.

    Attributes:
      job_dir: of the run.
      source: of the data.
      kind: the class of the model.
      config: of the run.
      interactions: all events.
      parts: their split.
      exported: the model as it was exported; None of what has no codes.
      ranker: answers histories as the model does, with nothing pruned.
      queries: a sample of the test queries, which everything is measured with.
      asked: test queries that there are.
    """

    job_dir: pathlib.Path
    source: str
    kind: str
    config: Config
    interactions: Interactions
    parts: Split
    exported: Exported | None
    ranker: Ranker
    queries: EvaluationQueries
    asked: int

    @property
    def has_times(self) -> bool:
        """Whether events have times of a clock, not places in a file."""
        return int(self.interactions.times.max()) > max(len(self.interactions), 10**7)

    @property
    def batch_size(self) -> int:
        """Queries answered together: what each of their tokens adds to the whole catalogue takes 32 MB at most."""
        return int(np.clip((1 << 23) // len(self.parts.catalogue), 1, 256))


def open_run(job_dir: pathlib.Path, source: str | None, num_queries: int) -> Run:
    """Opens a run.

    Args:
      job_dir: of `trainer.task`.
      source: of the data; None takes what the run remembers.
      num_queries: most test queries of the sample; fewer are taken where the catalogue is very large.

    Raises:
      UserError: there is no run, it is not finished, it does not remember its data, or the data is of another run.
    """
    if not (job_dir / "config.yaml").is_file():
        raise UserError(f"--job-dir {job_dir} has no config.yaml: it is no directory of trainer.task")
    config = configuration.load(str(job_dir / "config.yaml"))
    # Runs that remember no model are of before: those that an index can be built from are the ones to be reported.
    known = read_origin(job_dir) or Origin(SparCode.__name__)
    _require_finished(job_dir, config, known.model)
    origin = _with_data(known, job_dir, source)
    interactions = _loaded(origin.data, remembered=source is None)
    parts = split(interactions, config.data.split)
    data = SplitData(parts)
    _require_same(job_dir, config, data, origin.data)
    has_export = (job_dir / "export").is_dir()
    exported = Exported(job_dir / "export", parts) if has_export else None
    ranker = exported or ModelRanker(_restored(job_dir, config, data, origin.model))
    queries = parts.queries("test")
    if not len(queries):
        raise UserError(f"{origin.data} has no test events: no user has the three events that a split needs")
    sample = queries.sample(_sample_size(num_queries, exported, parts), config.training.seed)
    return Run(job_dir, origin.data, origin.model, config, interactions, parts, exported, ranker, sample, len(queries))


def _with_data(found: Origin, job_dir: pathlib.Path, source: str | None) -> Origin:
    """Where a run comes from, `source` over what it remembers."""
    if source is None and found.data is None:
        raise UserError(f"{job_dir} does not remember its data: it was not made by trainer.task; give --data")
    if source is None and is_prepared(found.data):
        raise UserError(
            f"the run in {job_dir} is of prepared data ({found.data}), which keeps no times and is read as a stream;"
            " give --data with the log that it was prepared from"
        )
    if found.model not in _KINDS:
        raise UserError(f"{job_dir} holds a {found.model}; there are reports of {', '.join(_KINDS)}")
    return found if source is None else found._replace(data=source)


def _loaded(data: str, remembered: bool) -> Interactions:
    try:
        return load(data)
    except UserError as error:
        hint = " (what the run remembers; where the data has moved, --data says where it is now)" if remembered else ""
        raise UserError(f"{error}{hint}") from error


def _require_finished(job_dir: pathlib.Path, config: Config, kind: str) -> None:
    for number in range(config.training.num_members):
        directory = member_directory(job_dir, number, config.training.num_members)
        newest = tf.train.latest_checkpoint(str(directory / "checkpoints"))
        if newest is None:
            raise UserError(
                f"{directory} has no checkpoints: nothing was trained there, or they were removed, as trainer.tune does"
                f" but for its best few; run trainer.task --job-dir {job_dir} to its end"
            )
        if not tf.train.load_variable(newest, "state/finished/.ATTRIBUTES/VARIABLE_VALUE"):
            raise UserError(f"the run in {directory} is not finished; run trainer.task --job-dir {job_dir} to its end")
    has_codes = kind == SparCode.__name__ and config.quantizer.structure != "none"
    if has_codes and not (job_dir / "export" / "manifest.json").is_file():
        raise UserError(f"the run in {job_dir} is trained but not exported; run trainer.task again, which exports it")


def _require_same(job_dir: pathlib.Path, config: Config, data: SplitData, source: str) -> None:
    """Raises UserError unless training saw exactly this data."""
    kept = (job_dir / ITEMS_FILE).read_bytes().decode().split("\n")[:-1]
    cure = "give the data that the run was made from"
    if kept != list(data.catalogue.item_id):
        raise UserError(
            f"--data {source} has {len(data.catalogue):,} items in training, the run in {job_dir} {len(kept):,}, and"
            f" they are not the same, row by row; {cure}"
        )
    # What prepared data is known by, a log is not.
    known = read_origin(job_dir)
    streamed = known is not None and known.data is not None and is_prepared(known.data)
    if not streamed and data.checksum(config) != (job_dir / "data.sha256").read_text().strip():
        raise UserError(f"--data {source} has the items of the run in {job_dir}, but other events; {cure}")


def _restored(job_dir: pathlib.Path, config: Config, data: SplitData, kind: str) -> SequenceModel | Ensemble:
    """The model of a run without an export, with its best weights; its event lists, if it has any, are fitted anew."""
    members = []
    for number in range(config.training.num_members):
        model = _KINDS[kind](config, data.counts(), columns=data.columns())
        model.catalogue_scores(tf.constant(model.windows_of([np.zeros(0, np.int32)])))  # variables exist from here on
        directory = member_directory(job_dir, number, config.training.num_members)
        best = tf.train.latest_checkpoint(str(directory / "checkpoints" / "best"))
        tf.train.Checkpoint(model=model).restore(best).assert_existing_objects_matched().expect_partial()
        members.append(model)
    model = put_together(members)
    if isinstance(model, AnySparCode):
        fit_event_lists(model, data.windows(config), data.validation(config))
    return model


def _sample_size(wanted: int, exported: Exported | None, parts: Split) -> int:
    """Queries whose codes cost no more pairs than a page may."""
    if exported is None or exported.space.size * len(parts.catalogue) <= _MOST_PAIRS:
        return wanted
    affordable = _MOST_PAIRS // (exported.num_tokens * len(parts.catalogue))
    return min(wanted, max(_LEAST_QUERIES, affordable))
