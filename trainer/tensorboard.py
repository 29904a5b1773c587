"""What TensorBoard is told beside the scalars of Keras: use of codes, hyperparameters, and vectors to look around in.

All of it stands in `logs/` itself, so that a job directory is one run of TensorBoard, and several under one
`--logdir` compare.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins import projector
from tensorboard.plugins.hparams import api as hparams

from trainer.config import Config
from trainer.data.interactions import Items
from trainer.ensemble import Ensemble
from trainer.model import SparCode
from trainer.sequence_model import SequenceModel

# A codeword that stands for less than this share of an even one is dead: nearly no query leads to it.
DEAD_SHARE = 0.1
# The browser holds all points of the projector at once.
PROJECTED_ITEMS = 10_000
PHASE = "phase"
FINAL = "final/"
# Ends the names of event files that the end of training writes, and writes anew when it is reached again.
_FINAL_FILES = ".final"


class CodeUse(tf.keras.callbacks.Callback):
    """Writes the phase of training of every epoch (0: tokens are not quantised yet, 1: they are), and from then on
    how often each codeword is used: a histogram of counts a codebook, and the share of dead codewords.

    Args:
      logs: directory of event files.
    """

    def __init__(self, logs: pathlib.Path) -> None:
        super().__init__()
        self._logs = logs
        self._writer: tf.summary.SummaryWriter | None = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Writes the epoch."""
        self._writer = self._writer or tf.summary.create_file_writer(str(self._logs))
        quantizer = self.model.quantizer
        active = quantizer.is_active
        with self._writer.as_default(step=epoch):
            tf.summary.scalar(PHASE, int(active))
            for name, counts in books(quantizer.counts.numpy()) if active else ():
                tf.summary.histogram(f"code_counts/{name}", counts, buckets=min(len(counts), 50))
                tf.summary.scalar(f"dead_codes/{name}", np.mean(counts < DEAD_SHARE * counts.mean()))

    def on_train_end(self, logs: dict | None = None) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()


def books(values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What each codebook has of `[slots, M, N, ...]`, by the name that its scalars have."""
    for slot, book in np.ndindex(values.shape[:2]):
        yield f"slot_{slot}_book_{book}", values[slot, book]


def write_outcome(
    logs: pathlib.Path,
    model: SequenceModel | Ensemble,
    catalogue: Items,
    counts: np.ndarray,
    metrics: Mapping[str, float],
) -> None:
    """Writes how training ended: hyperparameters with metrics, and what the projector shows.

    Args:
      logs: directory of event files; what an earlier end wrote there is replaced.
      model: trained.
      catalogue: of I items.
      counts: `[I]` events of each in training.
      metrics: of the whole model, by name.
    """
    logs.mkdir(parents=True, exist_ok=True)
    for path in logs.glob(f"events.*{_FINAL_FILES}"):
        path.unlink()
    with tf.summary.create_file_writer(str(logs), filename_suffix=_FINAL_FILES).as_default(step=0):
        hparams.hparams({"model": type(model.members[0]).__name__, **flat(model.config)})
        for name, value in metrics.items():
            tf.summary.scalar(f"{FINAL}{name}", value)
    _write_vectors(logs, model, catalogue, counts)


def flat(config: Config) -> dict[str, bool | int | float | str]:
    """The configuration as TensorBoard takes it: `section.field` to a plain value; declared features by name."""
    found: dict[str, Any] = {}
    for section, fields in dataclasses.asdict(config).items():
        for name, value in fields.items():
            # asdict makes mappings of the features and leaves their tuple.
            plain = ", ".join(each["name"] for each in value) if isinstance(value, tuple | list) else value
            found[f"{section}.{name}"] = plain
    return found


def _write_vectors(logs: pathlib.Path, model: SequenceModel | Ensemble, catalogue: Items, counts: np.ndarray) -> None:
    """A table of vectors and one of labels of each kind, and the file that tells the projector of them."""
    rows = np.sort(np.argsort(-counts, kind="stable")[:PROJECTED_ITEMS])
    items = np.concatenate([member.item_vectors(tf.constant(rows, tf.int32)).numpy() for member in model.members], 1)
    genres = ("|".join(catalogue.genres[row]) for row in rows)
    columns = {
        "title": [catalogue.title[row] for row in rows],
        "id": [catalogue.item_id[row] for row in rows],
        "events": counts[rows],
        "genres": genres,
    }
    vectors, tables = {"items": items}, {"items": columns}
    if any(_has_codes(member) for member in model.members):
        vectors["codewords"], tables["codewords"] = _codewords(model.members)
    # Tables of vectors, not a checkpoint: their paths are relative, and TensorBoard would show those of a checkpoint a
    # second time for each directory of scalars below.
    config = projector.ProjectorConfig()
    for name, table in tables.items():
        np.savetxt(logs / f"{name}.vectors.tsv", vectors[name], "%.6g", delimiter="\t")
        (logs / f"{name}.tsv").write_text(_tsv(table), encoding="utf-8")
        shape = vectors[name].shape
        files = {"tensor_path": f"{name}.vectors.tsv", "metadata_path": f"{name}.tsv"}
        config.embeddings.add(tensor_name=name, tensor_shape=shape, **files)
    (logs / "projector_config.pbtxt").write_text(str(config))


def _has_codes(member: SequenceModel) -> bool:
    return isinstance(member, SparCode) and member.is_quantized and member.quantizer.is_active


def _codewords(members: Sequence[SequenceModel]) -> tuple[np.ndarray, dict[str, list]]:
    """All codewords below one another, `[.., D / M]`, and what each is."""
    vectors, columns = [], {name: [] for name in ("codeword", "member", "slot", "book", "count")}
    for number, member in enumerate(members):
        words, counts = member.quantizer.codebooks.numpy(), member.quantizer.counts.numpy()
        vectors.append(words.reshape(-1, words.shape[-1]))
        for slot, book, code in np.ndindex(counts.shape):
            name, count = f"slot {slot} book {book} code {code}", round(float(counts[slot, book, code]), 3)
            for column, value in zip(columns.values(), (name, number, slot, book, count), strict=True):
                column.append(value)
    return np.concatenate(vectors), columns


def _tsv(columns: Mapping[str, Sequence[Any]]) -> str:
    """A header and a line a row; what a text has of tabs and line ends becomes blanks."""
    rows = zip(*columns.values(), strict=True)
    lines = ["\t".join(columns), *("\t".join(" ".join(str(cell).split()) for cell in row) for row in rows)]
    return "\n".join(lines) + "\n"
