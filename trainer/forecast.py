"""What a training would be, without training: `python -m trainer.task --dry-run`."""

from __future__ import annotations

import dataclasses
import pathlib
import resource
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from protos.errors import UserError
from trainer.claims import Claim, claims_of
from trainer.config import Config
from trainer.model import SparCode
from trainer.sequence_model import SequenceModel
from trainer.training_data import TrainingData

# Float32 values held of each weight: itself, its gradient, and the two moments of Adam.
_COPIES = 4


def forecast(
    data: TrainingData, config: Config, job_dir: pathlib.Path, kind: Callable[..., SequenceModel] = SparCode
) -> str:
    """Sizes and costs of a run, in lines. Builds the model, writes nothing.

    Args:
      data: to train on.
      config: of the run.
      job_dir: where it would run.
      kind: makes the model, see `trainer.task.train`.

    Raises:
      UserError: training would refuse the data, the configuration or the directory.
    """
    config = dataclasses.replace(config, features=config.features.filled(data.declared))
    state = _state(job_dir, claims_of(config, data, kind))
    counts, training = data.counts(), config.training
    if not counts.any():
        raise UserError("the training split has no interactions; every user has too few events")
    judges, steps = len(data.validation(config)), training.steps_per_epoch or data.batches(config).steps
    model = kind(config, counts, columns=data.columns())
    model.catalogue_scores(tf.constant([[0]]))  # builds it
    weights = sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
    members = f", {training.num_members} members one after the other" if training.num_members > 1 else ""
    codes = f"codes         {config.quantizer.code_space.size:,}, that the index scores with each item\n"
    return (
        f"events        {int(counts.sum()):,} to train on, {judges:,} queries that choose the epoch\n"
        f"items         {len(counts):,}\n"
        f"steps         {steps:,} an epoch of up to {training.batch_events:,} events; at most {training.epochs} epochs,"
        f" {steps * training.epochs:,} steps{members}\n"
        f"weights       {weights:,} that are trained\n"
        f"{codes if model.is_quantized else ''}"
        f"memory        {_memory(weights, len(counts), config if model.is_quantized else None)}\n"
        f"would write   {job_dir}: {state}; config.yaml, checkpoints of {_megabytes(weights * 4 * 3)}, logs"
        f"{', export' if model.is_quantized else ''}\n"
        "nothing was written"
    )


def _state(job_dir: pathlib.Path, claims: Sequence[Claim]) -> str:
    """What is in the job directory.

    Raises:
      UserError: a run that is made from something else, or something that is no directory.
    """
    if job_dir.exists() and not job_dir.is_dir():
        raise UserError(f"--job-dir {job_dir} is a file; expected a directory")
    for claim in claims:
        claim.check(job_dir)
    return "goes on with the run that is there" if (job_dir / claims[0].file).exists() else "a new run"


def _memory(weights: int, num_items: int, config: Config | None) -> str:
    """An estimate from below; `config` of a model with codes, which may have an item memory."""
    now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    moments = weights * 4 * (_COPIES - 1)
    parts = [f"{_megabytes(now)} with the data now", f"{_megabytes(moments)} of gradients and moments"]
    if config and config.num_events:
        parts.append(f"{_megabytes(8 * min(num_items, config.memory.max_items) ** 2)} of the item memory at the end")
    return "at least " + " + ".join(parts)


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"
