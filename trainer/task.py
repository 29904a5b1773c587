"""`python -m trainer.task`: interactions in, a trained and exported model out."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import pathlib
import time
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from protos.errors import UserError, run_cli
from trainer import config as configuration
from trainer.calibration import fit_event_lists
from trainer.config import Config
from trainer.data import load
from trainer.data.sources import DATA_HELP
from trainer.data.splits import EvaluationQueries, Split, split
from trainer.ensemble import AnySparCode, Ensemble, put_together
from trainer.evaluation import evaluate
from trainer.export import export
from trainer.exported_queries import SampleQueries
from trainer.late_interaction import LateInteraction
from trainer.model import SparCode
from trainer.ranking import ModelRanker
from trainer.sequence_model import SequenceModel
from trainer.training import SELECTED_BY, FitResult, fit, has_checkpoint
from trainer.two_tower import TwoTower
from trainer.warm_start import member_directory, warm_start, write_item_ids
from trainer.windows import training_windows, training_windows_with_context

# Seeds of members: far enough apart that runs of the next seeds share none.
_SEEDS_APART = 1000
MODELS = {"sparcode": SparCode, "two_tower": TwoTower, "late_interaction": LateInteraction}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model with its best weights and event lists.

    Attributes:
      model: trained; an ensemble where there are several members.
      results: how the run of each member ended.
      score: NDCG@50 on validation of the whole, event lists included.
      seconds: wall time of this call.
    """

    model: SequenceModel | Ensemble
    results: tuple[FitResult, ...]
    score: float
    seconds: float

    def __str__(self) -> str:
        """How it went, in one line."""
        runs = ", ".join(f"{run.best_score:.4f} at epoch {run.best_epoch} of {run.epochs}" for run in self.results)
        return f"{SELECTED_BY} on validation {self.score:.4f} (tokens of each member: {runs}), {self.seconds:.0f} s"


def train(
    parts: Split, config: Config, job_dir: pathlib.Path, kind: Callable[..., SequenceModel] = SparCode
) -> Trained:
    """Trains the members of a model of a kind on a split, resuming what `job_dir` holds.

    Args:
      parts: training sees `parts.train` only; validation chooses the epoch.
      config: the whole configuration; written to `job_dir/config.yaml`, with the features that the data declares
        (`FeaturesConfig.filled`).
      job_dir: gets config.yaml, checkpoints/ and logs/, the latter two in member-0/, member-1/, ... of several.
      kind: makes the model of a configuration, item counts and `columns` of features: SparCode, or a baseline
        to train alike.

    Raises:
      UserError: `job_dir` holds a run of another configuration, or there is nothing to train on.
    """
    start = time.perf_counter()
    config = dataclasses.replace(config, features=config.features.filled(parts.declared))
    windows = _windows(parts, config)
    if not len(windows):
        raise UserError("the training split has no interactions; every user has too few events")
    _claim(job_dir, config, parts)
    validation = _validation(parts, config)
    members, results = [], []
    for number in range(config.training.num_members):
        directory = member_directory(job_dir, number, config.training.num_members)
        members.append(_new_member(number, kind, parts, config, directory))
        label = type(members[-1]).__name__ + (f" {number + 1}" if config.training.num_members > 1 else "")
        results.append(fit(members[-1], windows, validation, directory, label))
    model = put_together(members)
    score = fit_event_lists(model, windows, validation) if isinstance(model, AnySparCode) else None
    if score is None and len(members) == 1:
        score = results[0].best_score
    elif score is None:
        score = evaluate(ModelRanker(model), validation).means()[SELECTED_BY]
    return Trained(model, tuple(results), score, time.perf_counter() - start)


def _new_member(
    number: int, kind: Callable[..., SequenceModel], parts: Split, config: Config, directory: pathlib.Path
) -> SequenceModel:
    """An untrained member of a model of this configuration, or one that starts from another run's weights."""
    seed = config.training.seed + _SEEDS_APART * number
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed))
    tf.keras.utils.set_random_seed(seed)
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    counts = np.bincount(np.concatenate(parts.train), minlength=len(parts.catalogue))
    model = kind(config, counts, columns=parts.columns())
    # A run that is resumed has gone on from the weights it started from.
    if config.training.warm_start and not has_checkpoint(directory):
        known = warm_start(model, parts.catalogue.item_id, pathlib.Path(config.training.warm_start), number)
        print(f"warm start from {config.training.warm_start}: {known} of {len(counts)} items known", flush=True)
    return model


def _windows(parts: Split, config: Config) -> np.ndarray:
    """The training windows, with context where the features of events or users are declared."""
    if config.features.context:
        return training_windows_with_context(parts.training_histories(), config.data.max_history)
    return training_windows(parts.train, config.data.max_history)


def _validation(parts: Split, config: Config) -> EvaluationQueries:
    """The validation queries, or a sample of them where there are very many."""
    queries = parts.queries("validation")
    if not len(queries):
        raise UserError("no user has the three events that training, validation and test need; bring longer histories")
    return queries.sample(config.training.validation_users, config.training.seed)


def _claim(job_dir: pathlib.Path, config: Config, parts: Split) -> None:
    """Writes what the run is made from, or checks that the run found here is made from the same."""
    job_dir.mkdir(parents=True, exist_ok=True)
    checksum = _checksum(parts, config) + "\n"
    claims = {
        # Not its text: a run begun before a field was there had what is that field's default now.
        "config.yaml": ("configuration", config.to_yaml(), lambda path: configuration.load(str(path)) == config),
        "data.sha256": ("data", checksum, lambda path: path.read_text() == checksum),
    }
    for name, (what, text, is_same) in claims.items():
        path = job_dir / name
        if not path.exists():
            path.write_text(text)
        elif not is_same(path):
            raise UserError(
                f"{path} is of a run with another {what}; resume it with the same flags, or give another --job-dir"
            )
    write_item_ids(job_dir, parts.catalogue.item_id)


def _checksum(parts: Split, config: Config) -> str:
    """SHA-256 of what training sees: the catalogue's ids, every user's events, and the declared columns."""
    digest = hashlib.sha256("\n".join(parts.catalogue.item_id).encode())
    for events in (*parts.train, *parts.validation):
        digest.update(np.int64(len(events)).tobytes() + events.astype("<i4").tobytes())
    columns, declared = parts.columns(), config.features
    for place in ("items", "events", "users"):
        found = getattr(columns, place)
        for name in (feature.name for feature in getattr(declared, place) if feature.name in found):
            digest.update(pa.record_batch({name: found[name]}).serialize())
    return digest.hexdigest()


def indexed_queries(parts: Split, config: Config) -> SampleQueries:
    """Queries whose codes an index of observed codes covers: each user's whole history and random prefixes of it.

    A query is judged by the validation events that came next: those of the user where its history is all of
    training, none where it is something else. A history with such events is whole, since none of its items may be
    answered; of others, the events that the model sees are enough.
    """
    rng = np.random.default_rng(config.training.seed)
    known, window = parts.known_histories(), config.data.max_history
    pieces, relevant = [], []
    for user, (train_events, validation_events) in enumerate(zip(parts.train, parts.validation, strict=True)):
        whole = len(train_events)
        if not whole:
            continue
        prefixes = np.unique(rng.integers(0, whole, min(config.data.indexed_prefixes, whole)))
        ends = [len(known.rows[user]), *prefixes]
        pieces += [(user, 0, whole), *((user, max(0, end - window), end) for end in ends)]
        relevant += [validation_events, *([np.zeros(0, np.int32)] * len(ends))]
    return SampleQueries(known.cut(pieces), relevant, parts.columns())


def export_trained(trained: Trained, parts: Split, directory: pathlib.Path) -> pathlib.Path:
    """Exports a trained SparCode with its catalogue and sample queries."""
    queries = indexed_queries(parts, trained.model.config)
    return export(trained.model, parts.catalogue.columns(), queries, directory)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer.task",
        description="Trains SparCode on a log of interactions and exports it for the index build.",
        epilog="Run the same command again to resume a run that was stopped; it ends with the same weights.",
    )
    parser.add_argument(
        "--data",
        required=True,
        help=DATA_HELP,
    )
    parser.add_argument("--job-dir", required=True, type=pathlib.Path, help="gets config, checkpoints, logs and export")
    parser.add_argument(
        "--model",
        choices=MODELS,
        default="sparcode",
        help="two_tower and late_interaction are baselines: no index is built from them, but a run of"
        " SparCode can start from a two-tower run (training.warm_start); default: %(default)s",
    )
    configuration.add_flags(parser)
    return parser


def main(argv: Sequence[str]) -> None:
    """Trains and exports as the flags say."""
    arguments = _parser().parse_args(argv)
    config = configuration.from_flags(arguments)
    interactions = load(arguments.data)
    print(interactions.summary())
    parts = split(interactions, config.data.split)
    print(parts.summary())
    trained = train(parts, config, arguments.job_dir, MODELS[arguments.model])
    print(trained)
    if trained.model.is_quantized:
        directory = export_trained(trained, parts, arguments.job_dir / "export")
        print(f"exported to {directory}")
    else:
        print("a model without codes: nothing to export for an index")


if __name__ == "__main__":
    run_cli(main)
