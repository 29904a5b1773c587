"""The query model of an export, with the shapes its manifest promises."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf


class Encoded(NamedTuple):
    """Encoded queries.

    Attributes:
      codes: `[B, K_u, M]` int32.
      keys: `[B, K_u]` int64 code keys.
      distances: `[B, K_u, M, N]` float32, from each part of a token to each codeword of its codebook.
    """

    codes: tf.Tensor
    keys: tf.Tensor
    distances: tf.Tensor


class QueryModel(tf.Module):
    """Loads `export/query`, which is saved again with whatever module holds this one."""

    def __init__(self, directory: pathlib.Path, model: Mapping[str, Any]) -> None:
        """Loads the SavedModel at `directory`; `model` is the export's manifest entry of that name."""
        super().__init__()
        self._loaded = tf.saved_model.load(str(directory))
        self._signature = self._loaded.signatures["serving_default"]
        self._tokens = (None, model["num_query_tokens"])
        self._codebooks = (model["num_codebooks"], model["num_codewords"])

    def encode(self, history: tf.Tensor) -> Encoded:
        """Encodes `[B, H]` histories of public item ids."""
        outputs = self._signature(history=history)
        return Encoded(
            tf.ensure_shape(outputs["codes"], (*self._tokens, self._codebooks[0])),
            tf.ensure_shape(outputs["keys"], self._tokens),
            tf.ensure_shape(outputs["distances"], self._tokens + self._codebooks),
        )
