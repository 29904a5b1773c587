"""TFRecord files of tf.train.Example, through TensorFlow, which is imported when the first one is read."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from protos.errors import UserError
from trainer.data.schema.files import DataFile

_LOOKED_AT = 100  # examples that tell which features there are, and of which type
_TYPES = {"bytes_list": "string", "int64_list": "int64", "float_list": "float32"}


def feature_names(file: DataFile) -> list[str]:
    """The features of the first 100 examples.

    Raises:
      UserError: the file is damaged, or its records are no examples.
    """
    with _local(file) as path:
        return list(_kinds(file, path))


def read_batches(file: DataFile, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
    """Columns of lists, since an example has a list of values under each name; an absent feature is an empty one.

    Raises:
      UserError: the file is damaged, or a record is no example or has a feature of another type than those before it.
    """
    import tensorflow as tf

    with _local(file) as path:
        kinds = _kinds(file, path)
        spec = {name: tf.io.RaggedFeature(kinds[name], row_splits_dtype=tf.int64) for name in columns}
        done = 0
        batches = iter(_records(path).batch(size))
        while True:
            try:
                records = next(batches, None)
                if records is None:
                    return
                parsed = tf.io.parse_example(records, spec)
            except tf.errors.OpError as error:
                raise UserError(
                    f"{file.label}, in rows {done + 1} to {done + size}: {_said(error)}; expected tf.train.Example"
                    f" records with {', '.join(f'{name} ({kinds[name]})' for name in columns)}"
                ) from error
            done += len(records)
            yield pa.record_batch({name: _lists(parsed[name]) for name in columns})


def _lists(ragged) -> pa.Array:
    values = ragged.flat_values.numpy()
    array = pa.array(values, pa.binary()) if values.dtype == object else pa.array(values)
    return pa.ListArray.from_arrays(pa.array(ragged.row_splits.numpy().astype(np.int32)), array)


def _kinds(file: DataFile, path: str) -> dict[str, str]:
    """TensorFlow's type of each feature of the first examples."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    kinds = {}
    try:
        for record in itertools.islice(_records(path).as_numpy_iterator(), _LOOKED_AT):
            for name, feature in sorted(tf.train.Example.FromString(record).features.feature.items()):
                kind = feature.WhichOneof("kind")
                if kind:
                    kinds.setdefault(name, _TYPES[kind])
    except (tf.errors.OpError, DecodeError) as error:
        raise UserError(f"{file.label}: {_said(error)}; expected a TFRecord file of tf.train.Example") from error
    return kinds


def _said(error: Exception) -> str:
    """What went wrong, without the names of TensorFlow's operations."""
    return re.sub(r"^\{\{.*?\}\} |\[Op:.*", "", getattr(error, "message", str(error))).strip()


def _records(path: str):
    import tensorflow as tf

    return tf.data.TFRecordDataset(path, "GZIP" if path.endswith(".gz") else "")


@contextlib.contextmanager
def _local(file: DataFile) -> Iterator[str]:
    """A path that TensorFlow can open: the file's own, or that of a copy while it is read."""
    if file.is_local:
        yield file.path
        return
    with tempfile.TemporaryDirectory() as directory:
        copy = pathlib.Path(directory) / pathlib.PurePosixPath(file.path).name
        with file.filesystem.open_input_stream(file.path, compression=None) as opened, copy.open("wb") as written:
            shutil.copyfileobj(opened, written, 1 << 20)
        yield str(copy)
