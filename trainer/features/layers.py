"""Features as vectors: a sum of one embedding or projection each, and the catalogue's features by row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.data.features import Columns
from trainer.features.encoders import Encoded
from trainer.features.fitted import FittedFeatures
from trainer.features.raw import Raw


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
    """Encoded features by row; the row after the last has none of them, and neither has row -1.

    Args:
      encoded: of I rows.
      saved: whether they are weights (not trained) that go with the model; else they are for training only.
    """

    def __init__(self, encoded: Sequence[Encoded], saved: bool = True, **kwargs) -> None:
        super().__init__(**kwargs)
        self._saved = saved
        self._ragged = [isinstance(values, tf.RaggedTensor) for values in encoded]
        for number, values in enumerate(encoded):
            if self._ragged[number]:
                self._keep(f"values_{number}", values.values.numpy())
                self._keep(f"splits_{number}", np.append(values.row_splits, len(values.values)))
            else:
                self._keep(f"values_{number}", np.pad(values, [(0, 1), (0, 0)]))

    def _keep(self, name: str, array: np.ndarray) -> None:
        self._num_rows = len(array) - 2 if name.startswith("splits") else len(array) - 1
        if not self._saved:
            setattr(self, name, tf.constant(array))
            return
        initializer = tf.keras.initializers.Constant(array)
        weight = self.add_weight(
            name=name, shape=array.shape, dtype=array.dtype, initializer=initializer, trainable=False
        )
        setattr(self, name, weight)

    def call(self, rows: tf.Tensor) -> list[Encoded]:
        """The encoded features of rows `[N]`."""
        rows = tf.where(rows < 0, self._num_rows, rows)
        return [tf.gather(self._values(number), rows) for number in range(len(self._ragged))]

    def _values(self, number: int) -> Encoded:
        values = tf.convert_to_tensor(getattr(self, f"values_{number}"))
        if not self._ragged[number]:
            return values
        splits = tf.convert_to_tensor(getattr(self, f"splits_{number}"))
        return tf.RaggedTensor.from_row_splits(values, splits, validate=False)


class RowFeatures(tf.keras.layers.Layer):
    """The features of items, events or users as vectors, looked up by row.

    Args:
      fitted: encoders.
      table: encoded rows.
      dim: D.
      seed: of the first weights.
    """

    def __init__(self, fitted: FittedFeatures, table: FeatureTable, dim: int, seed: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.fitted, self.table = fitted, table
        self.sum = FeatureSum(fitted, dim, seed)

    def call(self, rows: tf.Tensor) -> tf.Tensor:
        """`[..., D]` of rows `[...]`; zeros for row -1 and for the row after the last."""
        vectors = self.sum(self.table(tf.reshape(rows, [-1])))
        return tf.reshape(vectors, tf.concat([tf.shape(rows), [vectors.shape[-1]]], 0))

    def of_columns(self, columns: Columns) -> tf.Tensor:
        """`[N, D]` of any N of them by their columns."""
        return self.sum(self.fitted.encode(columns))

    def of_raw(self, raw: Sequence[Raw]) -> tf.Tensor:
        """`[N, D]` of any N of them by values as `raw_values` gives them."""
        return self.sum(self.fitted.encode_raw(raw))
