"""Features of events and users as inputs of the exported query model, beside `history`."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from trainer.config import FeatureConfig
from trainer.features.layers import RowFeatures
from trainer.features.raw import Raw


def input_specs(features: RowFeatures | None, outer: int) -> dict[str, tf.TensorSpec]:
    """The inputs of the features of one place, by the names of their columns.

    Args:
      features: None where none are declared.
      outer: dimensions before those of a value: 2 for events (`[B, H]`), 1 for users (`[B]`).

    Returns:
      category and text: string, "" is missing; multi_category: string with one more dimension, padded with
      ""; number: float32, nan is missing; vector: float32 with one more dimension, its width.
    """
    if features is None:
        return {}
    shape = [None] * outer
    specs = {}
    for feature, encoder in zip(features.fitted.declared, features.fitted.encoders, strict=True):
        inner = {"multi_category": [None], "vector": [getattr(encoder, "width", None)]}.get(feature.kind, [])
        kind = tf.float32 if feature.kind in ("number", "vector") else tf.string
        specs[feature.name] = tf.TensorSpec(shape + inner, kind, name=feature.name)
    return specs


def input_vectors(features: RowFeatures, inputs: Mapping[str, tf.Tensor], shape: tf.Tensor) -> tf.Tensor:
    """The vectors of a place's features, `[..., D]`, for inputs whose outer dimensions are `shape`."""
    flat = [_flat(inputs[feature.name], feature) for feature in features.fitted.declared]
    vectors = features.of_raw(flat)
    return tf.reshape(vectors, tf.concat([shape, [vectors.shape[-1]]], 0))


def _flat(values: tf.Tensor, feature: FeatureConfig) -> Raw:
    """Values of all rows below one another, as `raw_values` gives them."""
    if feature.kind not in ("multi_category", "vector"):
        return tf.reshape(values, [-1])
    # Not -1, which nothing can be told of where there are no rows.
    rows = tf.reduce_prod(tf.shape(values)[:-1])
    flat = tf.ensure_shape(tf.reshape(values, [rows, tf.shape(values)[-1]]), [None, values.shape[-1]])
    return tf.RaggedTensor.from_tensor(flat) if feature.kind == "multi_category" else flat
