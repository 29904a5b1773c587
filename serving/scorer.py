"""The scorer of an export, to score candidates anew."""

from __future__ import annotations

import pathlib

import tensorflow as tf

from protos.errors import UserError

SIGNATURE = "rescore"


class Scorer(tf.Module):
    """Loads `export/scorer`, which is saved again, its variables included, with whatever module holds this one."""

    def __init__(self, directory: pathlib.Path, first_row: int = 0) -> None:
        """Loads the SavedModel at `directory`; row 0 of who asks is its row `first_row`.

        Raises:
          UserError: it has no signature to rescore with.
        """
        super().__init__()
        self._loaded = tf.saved_model.load(str(directory))
        signatures = self._loaded.signatures
        if SIGNATURE not in signatures:
            raise UserError(
                f"--sums rescored needs the signature {SIGNATURE!r} (tokens, items to scores), which the scorer"
                f" {directory} does not have: found {sorted(signatures)}; export the model again, or choose"
                " other --sums"
            )
        self._signature = signatures[SIGNATURE]
        self._first_row = first_row

    def rescore(self, tokens: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """Scores `[B, C]` float32 of catalogue rows `[B, C]` int32 for tokens `[B, K_u, D]`, summed over the tokens."""
        return tf.ensure_shape(self._signature(tokens=tokens, items=rows + self._first_row)["scores"], rows.shape)
