"""`python -m trainer.task`: interactions in, a trained and exported model out."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence

import tensorflow as tf

from protos.artifact import write_whole
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from trainer import config as configuration
from trainer import strategy
from trainer.calibration import fit_event_lists
from trainer.checkpoints import has_checkpoint, restore_best
from trainer.claims import claims_of
from trainer.config import Config
from trainer.data import load
from trainer.data.prepared import is_prepared, read_prepared
from trainer.data.sources import DATA_HELP
from trainer.data.splits import Split, split
from trainer.ensemble import AnySparCode, Ensemble, put_together
from trainer.evaluation import evaluate
from trainer.export import export
from trainer.forecast import forecast
from trainer.late_interaction import LateInteraction
from trainer.model import SparCode
from trainer.origin import remember_data, remember_model
from trainer.placement import Placement
from trainer.prepared_data import PreparedData, damage_named
from trainer.ranking import ModelRanker
from trainer.sequence_model import SequenceModel
from trainer.split_data import SplitData
from trainer.tensorboard import write_outcome
from trainer.training import SELECTED_BY, FitResult, fit
from trainer.training_data import TrainingData
from trainer.two_tower import TwoTower
from trainer.warm_start import member_directory, warm_start, write_item_ids

# Seeds of members: far enough apart that runs of the next seeds share none.
_SEEDS_APART = 1000
MODELS = {"sparcode": SparCode, "two_tower": TwoTower, "late_interaction": LateInteraction}


_DESCRIPTION = """\
Trains SparCode on a log of interactions and exports it for the index build. Each user's last events are kept from
training: the last tenth is for the test, and the tenth before it chooses the epoch, by NDCG@50.

JOB_DIR gets config.yaml (the whole configuration), checkpoints/, logs/ (TensorBoard) and export/ (the model).
Run the same command again to resume a run that was stopped; it ends with the same weights.
"""
_EPILOG = """\
examples:
  # Something to look at in a few minutes, without any data at hand:
  python -m trainer.task --data synthetic --job-dir run --training.epochs 8

  # What would be trained, and how large it is; nothing is written:
  python -m trainer.task --data path/to/ml-latest-small --job-dir run --dry-run

  # A configuration of one's own, and a flag over it; then the index:
  python -m trainer.task --data shop.yaml --job-dir run --config shop-model.yaml --tokenizer.dim 128
  python -m beam_index.build --model run/export --output index
"""


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
    data: TrainingData | Split,
    config: Config,
    job_dir: pathlib.Path,
    kind: Callable[..., SequenceModel] = SparCode,
    watch: Sequence[tf.keras.callbacks.Callback] = (),
    placement: Placement | None = None,
) -> Trained:
    """Trains the members of a model of a kind, resuming what `job_dir` holds.

    Args:
      data: a split in memory, or data kept elsewhere; its validation chooses the epoch.
      config: the whole configuration; written to `job_dir/config.yaml`, with the features that the data declares
        (`FeaturesConfig.filled`).
      job_dir: gets config.yaml, checkpoints/ and logs/, the latter two in member-0/, member-1/, ... of several.
      kind: makes the model of a configuration, item counts and `columns` of features: SparCode, or a baseline
        to train alike.
      watch: called in the training of the first member.
      placement: where to train; None for the one device there is. Of several processes the chief gives back the model
        of the best weights on one device; the others have nothing to give but scores.

    Raises:
      UserError: `job_dir` holds a run of another configuration, data or model, or there is nothing to train on.
    """
    start = time.perf_counter()
    data, placement = _training_data(data), placement or Placement()
    config = dataclasses.replace(config, features=config.features.filled(data.declared))
    if not data.counts().any():
        raise UserError("the training split has no interactions; every user has too few events")
    validation = data.validation(config)
    _claim(job_dir, config, data, kind, placement)
    members, results = [], []
    for number in range(config.training.num_members):
        directory = member_directory(job_dir, number, config.training.num_members)
        with placement.scope():
            member = _new_member(number, kind, data, config, directory)
        label = type(member).__name__ + (f" {number + 1}" if config.training.num_members > 1 else "")
        seen_by = () if number else watch
        results.append(fit(member, data.batches(member.config), validation, directory, label, seen_by, placement))
        is_plain = not placement.is_distributed and config.training.mixed_precision == "none"
        members.append(member if is_plain else _plain(member, kind, data, directory))
    model = put_together(members)
    score = None
    if placement.is_chief and isinstance(model, AnySparCode):
        score = fit_event_lists(model, data.windows(config), validation)
    if score is None and (len(members) == 1 or not placement.is_chief):
        score = results[0].best_score
    elif score is None:
        score = evaluate(ModelRanker(model), validation).means()[SELECTED_BY]
    if placement.is_chief:
        write_outcome(job_dir / "logs", model, data.catalogue, data.counts(), {SELECTED_BY: score})
        remember_model(job_dir, type(members[0]).__name__)
    return Trained(model, tuple(results), score, time.perf_counter() - start)


def _training_data(data: TrainingData | Split) -> TrainingData:
    return SplitData(data) if isinstance(data, Split) else data


def _new_member(
    number: int, kind: Callable[..., SequenceModel], data: TrainingData, config: Config, directory: pathlib.Path
) -> SequenceModel:
    """An untrained member of a model of this configuration, or one that starts from another run's weights."""
    seed = config.training.seed + _SEEDS_APART * number
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, seed=seed))
    tf.keras.utils.set_random_seed(seed)
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    counts = data.counts()
    model = kind(config, counts, columns=data.columns())
    # A run that is resumed has gone on from the weights it started from.
    if config.training.warm_start and not has_checkpoint(directory):
        known = warm_start(model, data.catalogue.item_id, pathlib.Path(config.training.warm_start), number)
        print(f"warm start from {config.training.warm_start}: {known} of {len(counts)} items known", flush=True)
    return model


def _plain(
    member: SequenceModel, kind: Callable[..., SequenceModel], data: TrainingData, directory: pathlib.Path
) -> SequenceModel:
    """The same member with its best weights, as if it had trained on one device and in float32: what is exported."""
    training = dataclasses.replace(member.config.training, mixed_precision="none")
    plain = kind(dataclasses.replace(member.config, training=training), data.counts(), columns=data.columns())
    restore_best(plain, directory)
    return plain


def _claim(
    job_dir: pathlib.Path,
    config: Config,
    data: TrainingData,
    kind: Callable[..., SequenceModel],
    placement: Placement,
) -> None:
    """Writes what the run is made from, or checks that the run found here is made from the same.

    Of several processes the chief writes, and the others check that they were started with the same.
    """
    job_dir.mkdir(parents=True, exist_ok=True)
    placement.require_shared(job_dir)
    for claim in claims_of(config, data, kind):
        if placement.is_chief and not (job_dir / claim.file).exists():
            write_whole(job_dir / claim.file, claim.text)
        placement.meet()
        claim.check(job_dir)
    if placement.is_chief:
        write_item_ids(job_dir, data.catalogue.item_id)


def export_trained(trained: Trained, data: TrainingData | Split, directory: pathlib.Path) -> pathlib.Path:
    """Exports a trained SparCode with its catalogue and sample queries."""
    data = _training_data(data)
    queries = data.sample_queries(trained.model.config)
    return export(trained.model, data.catalogue.columns(), queries, directory)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m trainer.task",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--data",
        required=True,
        help=f"{DATA_HELP}; or data prepared for streaming (python -m trainer.data prepare)",
    )
    parser.add_argument("--job-dir", required=True, type=pathlib.Path, help="gets config, checkpoints, logs and export")
    parser.add_argument(
        "--model",
        choices=MODELS,
        default="sparcode",
        help="two_tower and late_interaction are baselines: no index is built from them, but a run of"
        " SparCode can start from a two-tower run (training.warm_start); default: %(default)s",
    )
    strategy.add_flags(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="check all of it, say how large it is and what it takes, and do nothing"
    )
    configuration.add_flags(parser)
    return parser


def read_prepared_data(source: str, method: str) -> PreparedData:
    """Prepared data, to be streamed.

    Raises:
      UserError: it was split by another method.
    """
    prepared = read_prepared(source)
    if prepared.method != method:
        raise UserError(
            f"{source} was prepared with --split {prepared.method}, and data.split is {method!r}: give"
            f" --data.split {prepared.method}, or prepare it again"
        )
    return PreparedData(prepared)


def _read(source: str, config: Config) -> TrainingData:
    """The data that --data names, in memory or to be streamed; prints what it holds."""
    if is_prepared(source):
        data = read_prepared_data(source, config.data.split)
        print(data.prepared.summary())
        return data
    interactions = load(source)
    print(interactions.summary())
    parts = split(interactions, config.data.split)
    print(parts.summary())
    return SplitData(parts)


def main(argv: Sequence[str]) -> None:
    """Trains and exports as the flags say."""
    arguments = _parser().parse_args(argv)
    config = configuration.from_flags(arguments)
    if arguments.dry_run:
        print(forecast(_read(arguments.data, config), config, arguments.job_dir, MODELS[arguments.model]))
        return
    placement = strategy.from_flags(arguments)  # first: it decides which devices TensorFlow has
    with placement.together():
        _train_and_export(arguments, config, placement)
        placement.meet()  # while the chief exports, the others wait for it


def _train_and_export(arguments: argparse.Namespace, config: Config, placement: Placement) -> None:
    if placement.is_distributed:
        print(placement, flush=True)
    data = _read(arguments.data, config)
    with damage_named(data):
        _train_on(data, arguments, config, placement)


def _train_on(data: TrainingData, arguments: argparse.Namespace, config: Config, placement: Placement) -> None:
    trained = train(data, config, arguments.job_dir, MODELS[arguments.model], placement=placement)
    if not placement.is_chief:
        return
    print(trained)
    remember_data(arguments.job_dir, arguments.data)
    if trained.model.is_quantized:
        directory = export_trained(trained, data, arguments.job_dir / "export")
        print(f"exported to {directory}")
    else:
        print("a model without codes: nothing to export for an index")


if __name__ == "__main__":
    run_cli(main)
