"""Warm start: the weights of an earlier run for a new one, whose catalogue may have grown."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf

from protos.errors import UserError
from trainer.model import SparCode
from trainer.sequence_model import SequenceModel

ITEMS_FILE = "item_ids.txt"


def write_item_ids(job_dir: pathlib.Path, item_ids: tuple[str, ...]) -> None:
    """Keeps the order of the catalogue beside the checkpoints: what a warm start from them needs."""
    (job_dir / ITEMS_FILE).write_bytes("".join(f"{item}\n" for item in item_ids).encode())


def member_directory(job_dir: pathlib.Path, member: int, num_members: int) -> pathlib.Path:
    """Where a member of a model keeps its checkpoints: a single one in the job directory itself."""
    return job_dir / f"member-{member}" if num_members > 1 else job_dir


def warm_start(model: SequenceModel, item_ids: tuple[str, ...], job_dir: pathlib.Path, member: int = 0) -> int:
    """Starts a model from the best weights of an earlier run, which may have been a two-tower run.

    Taken over are the encoder, the embedding and bias of every item that both catalogues have, the
    start marker, and, where the earlier run was one of SparCode, its scorer. Codes start anew: they
    are k-means of the query vectors, which are better from the first step on. An item that is new
    keeps its random embedding.

    Args:
      model: of the new run; its weights are built here.
      item_ids: of its catalogue, row by row.
      job_dir: of the earlier run.
      member: of the new model. It takes up from the earlier run's member of that number; from its first one
        where there were fewer.

    Returns:
      How many items were known.

    Raises:
      UserError: there is no such run, or its sizes are not the model's.
    """
    places = (job_dir / f"member-{member}", job_dir / "member-0", job_dir)
    found = (tf.train.latest_checkpoint(str(place / "checkpoints" / "best")) for place in places)
    checkpoint = next(filter(None, found), None)
    if checkpoint is None or not (job_dir / ITEMS_FILE).exists():
        raise UserError(f"training.warm_start {job_dir}: no trained run there (checkpoints/best and {ITEMS_FILE})")
    # What is not built yet would be restored later, and what does not fit would pass in silence.
    model.catalogue_scores(tf.constant([[0]]))
    old_ids = (job_dir / ITEMS_FILE).read_bytes().decode().split("\n")[:-1]
    old_rows = {item: row for row, item in enumerate(old_ids)}
    embeddings = tf.Variable(tf.zeros([len(old_ids) + 1, model.item_embeddings.shape[1]]))
    biases = tf.Variable(tf.zeros([len(old_ids)]))
    parts = {"tokenizer": model.tokenizer, "item_embeddings": embeddings, "item_bias": biases}
    _restore(checkpoint, parts, job_dir)
    if isinstance(model, SparCode) and _holds(checkpoint, "bias"):  # no other model has one
        _restore(checkpoint, {"scorer": model.scorer, "bias": model.bias}, job_dir)
    known = np.array([row for row, item in enumerate(item_ids) if item in old_rows], np.int64)
    old = np.array([old_rows[item_ids[row]] for row in known], np.int64)
    _copy_rows(model.item_embeddings, embeddings, [*known, len(item_ids)], [*old, len(old_ids)])
    _copy_rows(model.item_bias, biases, known, old)
    return len(known)


def _holds(checkpoint: str, part: str) -> bool:
    return any(name.startswith(f"model/{part}/") for name, _ in tf.train.list_variables(checkpoint))


def _restore(checkpoint: str, parts: dict, job_dir: pathlib.Path) -> None:
    holder = tf.train.Checkpoint(model=tf.train.Checkpoint(**parts))
    try:
        holder.restore(checkpoint).assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError) as error:
        raise UserError(
            f"training.warm_start {job_dir}: its {' and '.join(parts)} do not fit this configuration; give both runs"
            f" the same tokenizer, scorer and data.max_history ({str(error).splitlines()[0][:200]})"
        ) from error


def _copy_rows(target: tf.Variable, source: tf.Variable, target_rows: np.ndarray, source_rows: np.ndarray) -> None:
    values = target.numpy()
    values[np.asarray(target_rows, np.int64)] = source.numpy()[np.asarray(source_rows, np.int64)]
    target.assign(values)
