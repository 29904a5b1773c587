"""Tensors without NumPy, against TensorFlow's reading and writing."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving import wire

TYPES = [row.name for row in wire.TYPES if row.name != "string"]
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
numbers = st.sampled_from(TYPES).flatmap(lambda name: hnp.arrays(name, shapes))
strings = hnp.arrays(object, shapes, elements=st.binary(max_size=5))
arrays = st.one_of(numbers, strings)


def name_of(array):
    return "string" if array.dtype == object else array.dtype.name


@hypothesis.given(arrays.filter(lambda array: array.dtype != np.float16))
def test_tensorflow_reads_what_is_written(array):
    proto = tensor_pb2.TensorProto()
    wire.write(wire.Tensor(name_of(array), array.shape, array.ravel().tolist()), proto)
    read = tf.make_ndarray(proto)
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype


@hypothesis.given(arrays)
def test_what_tensorflow_writes_is_read(array):
    proto = tf.make_tensor_proto(array)
    tensor = wire.read(proto)
    assert (tensor.dtype, tensor.shape) == (name_of(array), array.shape)
    np.testing.assert_array_equal(np.array(tensor.values, array.dtype).reshape(array.shape), array)
    np.testing.assert_equal(tensor.nested(), array.tolist())


@hypothesis.given(arrays.filter(lambda array: array.dtype != np.uint64))  # which TensorFlow makes of lists by floats
def test_elements_one_by_one_are_read_too(array):
    """As TensorFlow Serving sends them; a last element that repeats may be left out."""
    proto = tf.make_tensor_proto(array.ravel().tolist(), array.dtype, array.shape)
    np.testing.assert_equal(wire.read(proto).nested(), array.tolist())


@pytest.mark.parametrize("name", [row.name for row in wire.TYPES])
def test_an_empty_list_is_zeros(name):
    proto = tensor_pb2.TensorProto(dtype=tf.as_dtype(name).as_datatype_enum)
    proto.tensor_shape.dim.add(size=2)
    expected = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(name)).numpy().tolist()
    assert wire.read(proto).nested() == expected


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (wire.Tensor("int32", (1,), [2**40]), "1099511627776.* cannot be sent as int32"),
        (wire.Tensor("int32", (1,), ["a"]), "'a'.* cannot be sent as int32"),
        (wire.Tensor("string", (1,), [7]), "7 among strings is a int; expected str or bytes"),
    ],
)
def test_values_of_another_type(tensor, message):
    with pytest.raises(wire.TensorError, match=message):
        wire.write(tensor, tensor_pb2.TensorProto())


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"dtype": 20}, "type 20 cannot be read"), ({"dtype": 1, "tensor_content": b"123"}, "has 3 bytes; 1 x float32")],
)
def test_messages_that_are_no_tensor(fields, message):
    with pytest.raises(wire.TensorError, match=message):
        wire.read(tensor_pb2.TensorProto(**fields))
