"""What a request may bring: a history, the model's features, and choices of what is to be returned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from protos.errors import UserError

HISTORY = tf.TensorSpec([None, None], tf.string, name="history")


class Choices(NamedTuple):
    """What is to be returned, one entry a query.

    Attributes:
      k: `[B]` int32, items wanted; 0 or less: none.
      exclude_ids: `[B, E]` string, items not to be returned; "" and unknown ids count for nothing.
      allow_categories: `[B, A]` string; an item must be in one of them; where all are "", every item may be returned.
      deny_categories: `[B, D]` string; an item in one of them is not returned, whatever allows it.
      include_seen: `[B]` bool, whether items of the history may be returned.
    """

    k: tf.Tensor
    exclude_ids: tf.Tensor
    allow_categories: tf.Tensor
    deny_categories: tf.Tensor
    include_seen: tf.Tensor

    def for_batch(self, size: tf.Tensor) -> Choices:
        """The choices of `size` queries; those given once count for every query.

        A number of choices that is neither 1 nor `size` is INVALID_ARGUMENT in the graph.
        """
        return Choices(*(tf.broadcast_to(each, tf.concat([[size], tf.shape(each)[1:]], 0)) for each in self))


CHOICES = Choices(
    k=tf.TensorSpec([None], tf.int32, name="k"),
    exclude_ids=tf.TensorSpec([None, None], tf.string, name="exclude_ids"),
    allow_categories=tf.TensorSpec([None, None], tf.string, name="allow_categories"),
    deny_categories=tf.TensorSpec([None, None], tf.string, name="deny_categories"),
    include_seen=tf.TensorSpec([None], tf.bool, name="include_seen"),
)
# Widths that suit most requests. Any width is answered, but the server's own batching joins only equal ones.
WIDTHS = {"exclude_ids": 64, "allow_categories": 8, "deny_categories": 8}
# Of a feature's own dimension, where the model leaves it open: values of a multi-valued feature.
OPEN_WIDTH = 8
RESERVED = frozenset({HISTORY.name, *Choices._fields})


def default_choices(k: int, include_seen: bool) -> Choices:
    """Choices of who makes none: `k` items of any category. One query's, which `Choices.for_batch` spreads."""
    nothing = tf.constant([[""]])
    return Choices(tf.constant([k], tf.int32), nothing, nothing, nothing, tf.constant([include_seen]))


def check_features(names: Iterable[str]) -> None:
    """Raises UserError where a query feature of the model has the name of another input."""
    if taken := sorted(RESERVED.intersection(names)):
        raise UserError(
            f"the model's query feature {taken[0]!r} has the name of an input that every servable has ("
            f"{', '.join(sorted(RESERVED))}); rename the column in the data and in features.events or features.users"
            " of the configuration, and train again"
        )


def describe_inputs(features: Mapping[str, tf.TensorSpec]) -> dict[str, dict[str, dict[str, Any]]]:
    """The inputs of each signature for a manifest: type, shape (null varies), and whether one may be left out."""
    query = {name: _described(spec, optional=False) for name, spec in {HISTORY.name: HISTORY, **features}.items()}
    choices = {spec.name: _described(spec, optional=True) for spec in CHOICES}
    every = {**query, **choices}
    return {"serving_default": query, "encode": query, "recommend": every, "explain": every}


def _described(spec: tf.TensorSpec, optional: bool) -> dict[str, Any]:
    return {"dtype": spec.dtype.name, "shape": spec.shape.as_list(), "optional": optional}
