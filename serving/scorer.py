"""The scorer of an export, to score candidates anew."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from protos.errors import UserError

SIGNATURE = "rescore"


class Rescored(NamedTuple):
    """Scores of items.

    Attributes:
      scores: `[B, C]` float32, summed over the tokens.
      contributions: `[B, K_u, C]` float32, what each token adds to them.
    """

    scores: tf.Tensor
    contributions: tf.Tensor


class Scorer(tf.Module):
    """Loads `export/scorer`, which is saved again, its variables included, with whatever module holds this one."""

    def __init__(self, directory: pathlib.Path) -> None:
        """Loads the SavedModel at `directory`.

        Raises:
          UserError: it has no signature to rescore with.
        """
        super().__init__()
        self._loaded = tf.saved_model.load(str(directory))
        self._signature = self._loaded.signatures.get(SIGNATURE)
        found = () if self._signature is None else self._signature.structured_outputs
        if not set(Rescored._fields) <= set(found):
            raise UserError(
                f"--sums rescored needs the signature {SIGNATURE!r} (tokens, items to {', '.join(Rescored._fields)}) of"
                f" the scorer {directory}, which has {_shown(self._loaded.signatures)}; it was exported by an older"
                " version: export the model again, or choose other --sums"
            )

    def rescore(self, tokens: tf.Tensor, rows: tf.Tensor) -> Rescored:
        """Scores of catalogue rows `[B, C]` int32 for tokens `[B, K_u, D]`."""
        outputs = self._signature(tokens=tokens, items=rows)
        contributions = tf.ensure_shape(outputs["contributions"], [rows.shape[0], tokens.shape[1], rows.shape[1]])
        return Rescored(tf.ensure_shape(outputs["scores"], rows.shape), contributions)


def _shown(signatures: Mapping[str, Callable]) -> str:
    return "; ".join(f"{name!r} to {', '.join(sorted(signatures[name].structured_outputs))}" for name in signatures)
