"""Small real SavedModels with all of the servable's signatures, whose answers are easy to foresee.

NUM_ITEMS items; number i has the id "i", the score 1 / (i + 1), and the category "even" or "odd". A query has one
quantised token, which gives half of every score, and its first NUM_EVENTS events, which give a quarter each. Its code
is how many events it has, and 1000 more on a "tv"; its token, how many, and what their ratings add up to.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping

import tensorflow as tf

NUM_ITEMS = 20
DEFAULT_K = 4
NUM_EVENTS = 2
K = tf.constant([DEFAULT_K])
NO_IDS = tf.constant([[""]])
UNSEEN = tf.constant([False])
Tensors = dict[str, tf.Tensor]


def _encode(history: tf.Tensor, device: tf.Tensor | None = None, ratings: tf.Tensor | None = None) -> Tensors:
    count = tf.reduce_sum(tf.cast(history != "", tf.int32), 1)
    code, total = count, tf.zeros_like(count, tf.float32)
    if device is not None:
        code += 1000 * tf.cast(device == "tv", tf.int32)
        tf.debugging.assert_equal(tf.shape(ratings), tf.shape(history))
        total = tf.reduce_sum(tf.where(tf.math.is_nan(ratings), 0.0, ratings), 1)
    keys = tf.cast(tf.stack([code] * (1 + NUM_EVENTS), 1), tf.int64)
    return {
        "codes": code[:, None, None],
        "tokens": tf.stack([tf.cast(count, tf.float32), total], 1)[:, None, :],
        "keys": keys,
        "fallback": tf.zeros_like(keys, tf.bool),
    }


def _best(
    history: tf.Tensor, k: tf.Tensor, exclude: tf.Tensor, allow: tf.Tensor, deny: tf.Tensor, seen: tf.Tensor
) -> Tensors:
    ids = tf.strings.as_string(tf.range(NUM_ITEMS))
    categories = tf.where(tf.range(NUM_ITEMS) % 2 == 0, "even", "odd")
    allowed = tf.reduce_all(allow == "", 1)[:, None] | _among(categories, allow)
    barred = _among(categories, deny) | _among(ids, exclude) | (_among(ids, history) & ~seen[:, None])
    scores = tf.where(allowed & ~barred, 1.0 / tf.cast(tf.range(NUM_ITEMS) + 1, tf.float32), 0.0)
    best, rows = tf.math.top_k(scores, tf.clip_by_value(tf.reduce_max(k), 0, NUM_ITEMS))
    best = tf.where(tf.range(tf.shape(best)[1]) < k[:, None], best, 0.0)
    return {"item_ids": tf.where(best > 0, tf.gather(ids, rows), ""), "scores": best, "valid": best > 0}


def _among(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Whether `[B, I]` each of `[I]` values is in a row of `[B, W]`."""
    return tf.reduce_any(values[None, :, None] == rows[:, None, :], 2)


def _recommend(encoded: Tensors, best: Tensors) -> Tensors:
    return {name: encoded[name] for name in ("codes", "keys", "fallback")} | best


def _explain(history: tf.Tensor, answer: Tensors) -> Tensors:
    shares = tf.constant([0.5] + [0.5 / NUM_EVENTS] * NUM_EVENTS)
    sources = tf.pad(history[:, :NUM_EVENTS], [[0, 0], [1, 0]], constant_values="")
    return answer | {"contributions": answer["scores"][:, :, None] * shares, "sources": sources}


class ContractModel(tf.Module):
    """Takes histories and the options of `recommend`."""

    inputs = (("history", tf.string, 2),)

    def serving_default(self, history):
        return self.recommend(history, K, NO_IDS, NO_IDS, NO_IDS, UNSEEN)

    def encode(self, history):
        return _encode(history)

    def recommend(
        self, history, k=K, exclude_ids=NO_IDS, allow_categories=NO_IDS, deny_categories=NO_IDS, include_seen=UNSEEN
    ):
        best = _best(history, k, exclude_ids, allow_categories, deny_categories, include_seen)
        return _recommend(_encode(history), best)

    def explain(
        self, history, k=K, exclude_ids=NO_IDS, allow_categories=NO_IDS, deny_categories=NO_IDS, include_seen=UNSEEN
    ):
        options = (k, exclude_ids, allow_categories, deny_categories, include_seen)
        return _explain(history, self.recommend(history, *options))


class FeatureModel(tf.Module):
    """Takes a feature of the user, `device`, and one of events, `ratings`, too."""

    inputs = (("history", tf.string, 2), ("device", tf.string, 1), ("ratings", tf.float32, 2))

    def serving_default(self, history, device, ratings):
        return self.recommend(history, device, ratings, K, NO_IDS, NO_IDS, NO_IDS, UNSEEN)

    def encode(self, history, device, ratings):
        return _encode(history, device, ratings)

    def recommend(
        self,
        history,
        device,
        ratings,
        k=K,
        exclude_ids=NO_IDS,
        allow_categories=NO_IDS,
        deny_categories=NO_IDS,
        include_seen=UNSEEN,
    ):
        best = _best(history, k, exclude_ids, allow_categories, deny_categories, include_seen)
        return _recommend(_encode(history, device, ratings), best)


_OPTIONS = (
    ("k", tf.int32, 1),
    ("exclude_ids", tf.string, 2),
    ("allow_categories", tf.string, 2),
    ("deny_categories", tf.string, 2),
    ("include_seen", tf.bool, 1),
)


def _signatures(model: ContractModel | FeatureModel) -> Mapping[str, Callable]:
    specs = [tf.TensorSpec([None] * rank, dtype, name=name) for name, dtype, rank in (*model.inputs, *_OPTIONS)]
    widths = {"serving_default": len(model.inputs), "encode": len(model.inputs), "recommend": None, "explain": None}
    return {
        name: tf.function(getattr(model, name), input_signature=specs[:width])
        for name, width in widths.items()
        if hasattr(model, name)
    }


def write_contract_model(
    directory: pathlib.Path, kind: type[ContractModel] | type[FeatureModel] = ContractModel
) -> pathlib.Path:
    """Saves a model at `directory`, a version directory, and returns it."""
    model = kind()
    tf.saved_model.save(model, str(directory), signatures=_signatures(model))
    return directory
