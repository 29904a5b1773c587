"""Features of events and users as inputs of the exported query model, beside `history`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from protos.query_inputs import QueryInput
from trainer.config import FeatureConfig
from trainer.features.layers import RowFeatures
from trainer.features.raw import Raw


def inputs_of(events: RowFeatures | None, users: RowFeatures | None) -> tuple[QueryInput, ...]:
    """The features of events and of users as inputs by the names of their columns; None where none are declared."""
    return tuple(
        QueryInput(feature.name, place, feature.kind, encoder.width if feature.kind == "vector" else None)
        for place, features in (("event", events), ("user", users))
        if features is not None
        for feature, encoder in zip(features.fitted.declared, features.fitted.encoders, strict=True)
    )


def input_specs(inputs: Sequence[QueryInput]) -> dict[str, tf.TensorSpec]:
    """The tensors of inputs, as protos/query_inputs.py describes them; only the width of a vector is fixed."""
    specs = {}
    for each in inputs:
        inner = [each.width] if each.kind == "vector" else []
        shape = [None] * (each.rank - len(inner)) + inner
        specs[each.name] = tf.TensorSpec(shape, each.dtype, name=each.name)
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
