"""One encoder a kind of feature: fitted on training data, then the same TensorFlow graph everywhere.

An encoder turns raw values (trainer/features/raw.py) of N rows into a bag of buckets a row (a ragged
`[N, None]` int32, whose embeddings are averaged) or into numbers (`[N, W]` float32, which are projected).
Bucket 0 is for values that training did not know. What is missing is an empty bag, or zeros.
`fit` takes, beside the raw values, how often each of the N rows occurs, at least once.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from protos.errors import UserError
from trainer.config import FeatureConfig
from trainer.features.raw import Raw

Encoded = tf.Tensor | tf.RaggedTensor

_EXTREME = 5.0  # standard deviations; a number beyond them counts as this far away


def _quantiles(values: np.ndarray, counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The quantiles of values that occur `counts` times each, as np.quantile interpolates them."""
    order = np.argsort(values)
    values, ends = values[order], np.cumsum(counts[order])
    places = shares * (ends[-1] - 1)
    below = np.floor(places)
    low, high = (values[np.searchsorted(ends, place, side="right")] for place in (below, np.ceil(places)))
    return low + (high - low) * (places - below)


def _bag(buckets: tf.Tensor, present: tf.Tensor) -> tf.RaggedTensor:
    """One bucket a row `[N]`, none where it is not present."""
    return tf.RaggedTensor.from_row_lengths(tf.boolean_mask(buckets, present), tf.cast(present, tf.int64))


class CategoryEncoder(tf.Module):
    """Values of a vocabulary, one or several a row.

    Args:
      vocabulary: value v has bucket 1 + v.
    """

    def __init__(self, vocabulary: np.ndarray) -> None:
        super().__init__()
        self.num_buckets = 1 + len(vocabulary)
        # A table must not be empty; the empty string is never looked up.
        keys = tf.constant([b"", *vocabulary.tolist()])
        entries = tf.lookup.KeyValueTensorInitializer(keys, tf.range(len(keys)))
        self._table = tf.lookup.StaticHashTable(entries, default_value=0)

    @classmethod
    def fit(cls, values: Raw, feature: FeatureConfig, counts: np.ndarray) -> CategoryEncoder:
        """A vocabulary of the values of at least `min_count` occurrences."""
        if isinstance(values, tf.RaggedTensor):
            values, counts = values.flat_values, np.repeat(counts, values.row_lengths().numpy())
        found, places = np.unique(values.numpy().astype(bytes), return_inverse=True)
        occurrences = np.bincount(places, counts, len(found))
        return cls(found[(occurrences >= feature.min_count) & (found != b"")])

    def encode(self, values: Raw) -> tf.RaggedTensor:
        """Strings `[N]` or `[N, None]` to bags of buckets; the empty string is a missing value."""
        if isinstance(values, tf.RaggedTensor):
            known = tf.ragged.boolean_mask(values, values != "")
            return known.with_flat_values(self._table.lookup(known.flat_values))
        return _bag(self._table.lookup(values), values != "")


class TextEncoder(tf.Module):
    """Hashed words and, of the words with a space around each, hashed character n-grams; case is ignored.

    Args:
      hash_buckets: number of buckets; collisions share one.
      ngrams: characters of an n-gram; 0 for none.
    """

    def __init__(self, hash_buckets: int, ngrams: int) -> None:
        super().__init__()
        self.num_buckets = 1 + hash_buckets
        self._hash_buckets, self._ngrams = hash_buckets, ngrams

    @classmethod
    def fit(cls, values: Raw, feature: FeatureConfig, counts: np.ndarray) -> TextEncoder:
        """Nothing is learnt from the data."""
        return cls(feature.hash_buckets, feature.ngrams)

    def encode(self, values: tf.Tensor) -> tf.RaggedTensor:
        """Strings `[N]` to bags of buckets; a text without letters and digits has an empty one."""
        valid = tf.strings.unicode_transcode(values, "UTF-8", "UTF-8")
        text = tf.strings.regex_replace(tf.strings.lower(valid, encoding="utf-8"), r"[^\pL\pN]+", " ")
        words = tf.strings.split(text)
        parts = words
        if self._ngrams:
            spaced = tf.strings.reduce_join(words, axis=1, separator=" ")
            spaced = tf.where(spaced == "", spaced, tf.strings.join([" ", spaced, " "]))
            characters = tf.strings.unicode_split(spaced, "UTF-8")
            # "#" is in no word: a word and an n-gram of the same letters are two things.
            grams = tf.strings.ngrams(characters, self._ngrams, separator="")
            parts = tf.concat([words, grams.with_flat_values(tf.strings.join(["#", grams.flat_values]))], 1)
        hashed = tf.strings.to_hash_bucket_fast(parts.flat_values, self._hash_buckets)
        return parts.with_flat_values(1 + tf.cast(hashed, tf.int32))


class NumberEncoder(tf.Module):
    """A standardised number and a flag that is 1 where it is missing."""

    width = 2

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self._mean, self._deviation = mean, deviation

    @classmethod
    def fit(cls, values: Raw, feature: FeatureConfig, counts: np.ndarray) -> NumberEncoder | BinEncoder:
        """The mean and deviation, or quantiles where the feature asks for bins."""
        finite = np.isfinite(values.numpy())
        known, counts = values.numpy()[finite].astype(np.float64), counts[finite]
        if feature.bins:
            shares = np.arange(1, feature.bins) / feature.bins
            return BinEncoder(np.unique(_quantiles(known, counts, shares)) if len(known) else np.zeros(0))
        if not len(known):
            return cls(0.0, 1.0)
        mean = np.average(known, weights=counts)
        variance = np.average((known - mean) ** 2, weights=counts) if np.ptp(known) else 1.0
        return cls(float(mean), float(variance) ** 0.5)

    def encode(self, values: tf.Tensor) -> tf.Tensor:
        """Numbers `[N]`, nan where missing, to `[N, 2]`."""
        missing = tf.math.is_nan(values)
        standardised = tf.clip_by_value((values - self._mean) / self._deviation, -_EXTREME, _EXTREME)
        return tf.stack([tf.where(missing, 0.0, standardised), tf.cast(missing, tf.float32)], 1)


class BinEncoder(tf.Module):
    """The quantile that a number falls into.

    Args:
      edges: ascending; bin b holds edges[b - 1] <= number < edges[b].
    """

    def __init__(self, edges: np.ndarray) -> None:
        super().__init__()
        self.num_buckets = 2 + len(edges)
        self._edges = edges.astype(np.float32)

    def encode(self, values: tf.Tensor) -> tf.RaggedTensor:
        """Numbers `[N]` to bags of buckets, empty where the number is nan."""
        return _bag(1 + tf.searchsorted(self._edges, values, side="right"), ~tf.math.is_nan(values))


class VectorEncoder(tf.Module):
    """A vector over the mean length of the vectors in training.

    Args:
      feature: for errors.
      width: W.
      scale: what a vector is divided by.
    """

    def __init__(self, feature: FeatureConfig, width: int, scale: float) -> None:
        super().__init__()
        self.width = width
        self._feature, self._scale = feature, scale

    @classmethod
    def fit(cls, values: Raw, feature: FeatureConfig, counts: np.ndarray) -> VectorEncoder:
        """The width and the mean length."""
        lengths = np.linalg.norm(values.numpy(), axis=1)
        finite = np.isfinite(lengths)
        mean = np.average(lengths[finite], weights=counts[finite]) if finite.any() else 0.0
        return cls(feature, int(values.shape[1]), float(mean) or 1.0)

    def encode(self, values: tf.Tensor) -> tf.Tensor:
        """Vectors `[N, W]` to `[N, W]`; zeros where a vector is missing or holds a nan.

        Raises:
          UserError: the vectors are of another width.
        """
        if values.shape[1] not in (None, self.width):
            raise UserError(
                f"features: {self._feature.name!r} holds vectors of {values.shape[1]} numbers, expected"
                f" {self.width} as in training"
            )
        known = tf.reduce_all(tf.math.is_finite(values), 1, keepdims=True)
        return tf.where(known, values / self._scale, 0.0)


Encoder = CategoryEncoder | TextEncoder | NumberEncoder | BinEncoder | VectorEncoder

ENCODERS = {
    "category": CategoryEncoder,
    "multi_category": CategoryEncoder,
    "number": NumberEncoder,
    "text": TextEncoder,
    "vector": VectorEncoder,
}
