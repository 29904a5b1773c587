"""The query model of an export, with the shapes its manifest promises."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from serving.inputs import HISTORY, check_features


class Encoded(NamedTuple):
    """Encoded queries.

    Attributes:
      codes: `[B, K_u, M]` int32, of the quantised tokens.
      keys: `[B, K]` int64, of the K_u quantised tokens, then of the H events; -1 where there is no event or
        no list of it.
      weights: `[B, K]` float32, what the scores in each list count.
      tokens: `[B, K_u, D]` float32, the quantised tokens as the scorer takes them.
      distances: `[B, K_u, M, N]` float32, from each part of a token to each codeword of its codebook.
    """

    codes: tf.Tensor
    keys: tf.Tensor
    weights: tf.Tensor
    tokens: tf.Tensor
    distances: tf.Tensor


class QueryModel(tf.Module):
    """Loads `export/query`, which is saved again with whatever module holds this one.

    Attributes:
      features: the inputs that the model declares beside the history, by name.
    """

    def __init__(self, directory: pathlib.Path, model: Mapping[str, Any]) -> None:
        """Loads the SavedModel at `directory`; `model` is the export's manifest entry of that name.

        Raises:
          UserError: a feature has the name of another input of a servable.
        """
        super().__init__()
        self._loaded = tf.saved_model.load(str(directory))
        self._signature = self._loaded.signatures["serving_default"]
        inputs = self._signature.structured_input_signature[1]
        self.features = {name: inputs[name] for name in sorted(inputs) if name != HISTORY.name}
        check_features(self.features)
        tokens = (None, model["num_query_tokens"])
        lists = (None, model["num_query_tokens"] + model["num_events"])
        self._shapes = {
            "codes": (*tokens, model["num_codebooks"]),
            "keys": lists,
            "weights": lists,
            "tokens": (*tokens, model["dim"]),
            "distances": (*tokens, model["num_codebooks"], model["num_codewords"]),
        }

    def encode(self, history: tf.Tensor, features: Mapping[str, tf.Tensor]) -> Encoded:
        """Encodes `[B, H]` histories of public item ids, with the features that the model declares."""
        outputs = self._signature(history=history, **features)
        return Encoded(**{name: tf.ensure_shape(outputs[name], shape) for name, shape in self._shapes.items()})
