"""Features as vectors: a sum of one embedding or projection each, and the catalogue's features by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.data.features import Columns
from trainer.features.encoders import Encoded
from trainer.features.fitted import FittedFeatures


class BagEmbedding(tf.keras.layers.Layer):
    """The mean of the embeddings of a bag's buckets; zero of an empty bag.

    Bucket 0, the unknown, starts at zero: where training never meets it, it says nothing.
    """

    def __init__(self, num_buckets: int, dim: int, seed: int, **kwargs) -> None:
        super().__init__(**kwargs)
        known = tf.keras.initializers.RandomNormal(stddev=dim**-0.5, seed=seed)
        self.table = self.add_weight(
            name="table",
            shape=(num_buckets, dim),
            initializer=lambda shape, dtype: tf.concat([tf.zeros([1, dim]), known([shape[0] - 1, dim])], 0),
        )

    def call(self, bags: tf.RaggedTensor) -> tf.Tensor:
        """Bags `[N, None]` to `[N, D]`."""
        return tf.sparse.segment_mean(self.table, bags.values, bags.value_rowids(), num_segments=bags.nrows())


class Projection(tf.keras.layers.Layer):
    """Numbers times a matrix; zero of zeros."""

    def __init__(self, width: int, dim: int, seed: int, **kwargs) -> None:
        super().__init__(**kwargs)
        initializer = tf.keras.initializers.RandomNormal(stddev=dim**-0.5, seed=seed)
        self.kernel = self.add_weight(name="kernel", shape=(width, dim), initializer=initializer)

    def call(self, numbers: tf.Tensor) -> tf.Tensor:
        """Numbers `[N, W]` to `[N, D]`."""
        return tf.matmul(numbers, self.kernel)


class FeatureSum(tf.keras.layers.Layer):
    """The sum of what each feature says.

    Args:
      features: fitted.
      dim: D.
      seed: of the first weights.
    """

    def __init__(self, features: FittedFeatures, dim: int, seed: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.parts = [
            BagEmbedding(encoder.num_buckets, dim, seed + number)
            if hasattr(encoder, "num_buckets")
            else Projection(encoder.width, dim, seed + number)
            for number, encoder in enumerate(features.encoders)
        ]

    def call(self, encoded: Sequence[Encoded]) -> tf.Tensor:
        """What `FittedFeatures.encode` gives of N rows, to `[N, D]`."""
        return tf.add_n([part(values) for part, values in zip(self.parts, encoded, strict=True)])


class FeatureTable(tf.keras.layers.Layer):
    """Encoded features by row, kept as weights that are not trained; the row after the last has none of them.

    Args:
      encoded: of I rows.
    """

    def __init__(self, encoded: Sequence[Encoded], **kwargs) -> None:
        super().__init__(**kwargs)
        self._ragged = [isinstance(values, tf.RaggedTensor) for values in encoded]
        for number, values in enumerate(encoded):
            if self._ragged[number]:
                self._keep(f"values_{number}", values.values.numpy())
                self._keep(f"splits_{number}", np.append(values.row_splits, len(values.values)))
            else:
                self._keep(f"values_{number}", np.pad(values, [(0, 1), (0, 0)]))

    def _keep(self, name: str, array: np.ndarray) -> None:
        initializer = tf.keras.initializers.Constant(array)
        weight = self.add_weight(
            name=name, shape=array.shape, dtype=array.dtype, initializer=initializer, trainable=False
        )
        setattr(self, name, weight)

    def call(self, rows: tf.Tensor) -> list[Encoded]:
        """The encoded features of rows `[N]`."""
        return [tf.gather(self._values(number), rows) for number in range(len(self._ragged))]

    def _values(self, number: int) -> Encoded:
        values = tf.convert_to_tensor(getattr(self, f"values_{number}"))
        if not self._ragged[number]:
            return values
        splits = tf.convert_to_tensor(getattr(self, f"splits_{number}"))
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False)


class ItemFeatures(tf.keras.layers.Layer):
    """The feature part of item vectors.

    Args:
      fitted: the features of items.
      catalogue: columns of the catalogue, I rows.
      dim: D.
      seed: of the first weights.
    """

    def __init__(self, fitted: FittedFeatures, catalogue: Columns, dim: int, seed: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.fitted = fitted
        self.table = FeatureTable(fitted.encode(catalogue))
        self.sum = FeatureSum(fitted, dim, seed)

    def call(self, rows: tf.Tensor) -> tf.Tensor:
        """`[..., D]` of rows `[...]`; zeros for the row after the catalogue's last."""
        vectors = self.sum(self.table(tf.reshape(rows, [-1])))
        return tf.reshape(vectors, tf.concat([tf.shape(rows), [vectors.shape[-1]]], 0))

    def of_columns(self, columns: Columns) -> tf.Tensor:
        """`[N, D]` of any N items by their columns."""
        return self.sum(self.fitted.encode(columns))
