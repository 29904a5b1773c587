"""Scalars out of the event files that training wrote for TensorBoard."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

Curves = Mapping[str, Mapping[int, float]]


def read_scalars(directory: pathlib.Path) -> Curves:
    """Tag to step to value, of all event files directly in a directory.

    An epoch that a killed run repeats is there twice: the later one counts.
    """
    found: dict[str, dict[int, tuple[float, float]]] = {}
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for event in _events(path):
            for value in event.summary.value:
                _keep(found.setdefault(value.tag, {}), event.step, event.wall_time, value)
    return {tag: {step: points[step][1] for step in sorted(points)} for tag, points in found.items() if points}


def _events(path: pathlib.Path) -> Iterator[tf.compat.v1.Event]:
    for record in tf.data.TFRecordDataset(str(path)):
        yield tf.compat.v1.Event.FromString(record.numpy())


def _keep(points: dict[int, tuple[float, float]], step: int, written: float, value: tf.compat.v1.Summary.Value) -> None:
    if value.WhichOneof("value") == "simple_value":
        number = value.simple_value
    elif value.WhichOneof("value") == "tensor" and value.tensor.dtype != tf.string.as_datatype_enum:
        array = tf.make_ndarray(value.tensor)
        if array.size != 1:
            return  # a histogram
        number = float(np.ravel(array)[0])
    else:
        return
    if step not in points or points[step][0] <= written:
        points[step] = written, number
