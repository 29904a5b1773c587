"""Tensors on the wire: both families of messages, against TensorFlow's own reading and writing."""

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2
from tensorflow_serving.apis import predict_pb2 as tf_predict_pb2

from protos import predict_pb2
from serving import tensors

NUMERIC = [np.float32, np.float64, np.int32, np.int64, np.bool_, np.uint8, np.int8, np.int16, np.uint16, np.uint32]
NUMERIC += [np.uint64, np.float16]
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
numeric_arrays = st.sampled_from(NUMERIC).flatmap(lambda dtype: hnp.arrays(dtype, shapes))
string_arrays = hnp.arrays(object, shapes, elements=st.binary(max_size=5))
arrays = st.one_of(numeric_arrays, string_arrays)


def written(array, message=predict_pb2.TensorProto):
    proto = message()
    tensors.write_tensor(array, proto)
    return proto


def as_ours(proto):
    return predict_pb2.TensorProto.FromString(proto.SerializeToString())


def as_theirs(proto):
    return tensor_pb2.TensorProto.FromString(proto.SerializeToString())


@hypothesis.given(arrays)
def test_tensorflow_reads_what_we_write(array):
    read = tf.make_ndarray(as_theirs(written(array)))
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype


@hypothesis.given(arrays)
def test_tensorflows_kernel_reads_what_we_write(array):
    proto = written(array, tensor_pb2.TensorProto)
    read = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(array.dtype)).numpy()
    np.testing.assert_array_equal(read, array)


@hypothesis.given(arrays)
def test_we_read_what_tensorflow_writes(array):
    proto = tf.make_tensor_proto(array)
    for message in (proto, as_ours(proto)):
        read = tensors.read_tensor(message)
        np.testing.assert_array_equal(read, array)
        assert read.dtype == array.dtype


@hypothesis.given(arrays)
def test_both_families_write_the_same_bytes(array):
    ours, theirs = written(array), written(array, tensor_pb2.TensorProto)
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)


@hypothesis.given(numeric_arrays, st.data())
def test_short_and_long_lists_are_read_as_tensorflows_kernel_reads_them(array, data):
    """The last element repeats, an empty list is zeros, what is too much is ignored."""
    proto = written(array, tensor_pb2.TensorProto)
    del proto.tensor_shape.dim[:]
    sizes = data.draw(st.lists(st.integers(0, 4), max_size=2))
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    expected = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(array.dtype)).numpy()
    for message in (proto, as_ours(proto)):
        np.testing.assert_array_equal(tensors.read_tensor(message), expected)


@hypothesis.given(st.lists(st.binary(max_size=3), max_size=4), st.integers(0, 6))
@hypothesis.example([b"\0"], 2)
def test_short_and_long_lists_of_strings(values, size):
    proto = tensor_pb2.TensorProto(dtype=types_pb2.DT_STRING, string_val=values)
    proto.tensor_shape.dim.add(size=size)
    expected = tf.io.parse_tensor(proto.SerializeToString(), tf.string).numpy()
    assert tensors.read_tensor(proto).tolist() == expected.tolist()


@pytest.mark.parametrize(("number", "dtype"), [(types_pb2.DT_UINT8, np.uint8), (types_pb2.DT_INT8, np.int8)])
def test_values_that_do_not_fit_wrap_around_as_in_tensorflow(number, dtype):
    proto = tensor_pb2.TensorProto(dtype=number, int_val=[300, -1, 128])
    proto.tensor_shape.dim.add(size=3)
    expected = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(dtype)).numpy()
    np.testing.assert_array_equal(tensors.read_tensor(proto), expected)


def test_text_becomes_utf8_and_keeps_its_nuls():
    assert tensors.as_array(["é", "a\0", b"b\0"]).tolist() == ["é".encode(), b"a\0", b"b\0"]
    assert tensors.as_array(np.array(["é"])).tolist() == ["é".encode()]


def test_a_scalar_has_a_shape_without_dimensions():
    proto = written(np.float32(2.5))
    assert proto.HasField("tensor_shape")
    assert not proto.tensor_shape.dim
    assert tensors.read_tensor(proto).shape == ()


def test_big_endian_arrays_are_sent_by_value():
    assert tensors.read_tensor(written(np.array([1, 258], ">i4"))).tolist() == [1, 258]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([["a"], ["b", "c"]], "the values are no array: .*inhomogeneous"),
        (["a", 1], "1 among strings is a int; expected str or bytes"),
        (np.array([1j]), "an array of complex128 has no TensorFlow type; expected one of float32, .*string"),
    ],
)
def test_values_that_are_no_tensor(values, message):
    with pytest.raises(tensors.TensorError, match=message):
        written(values)


def _proto(number, sizes, **fields):
    proto = predict_pb2.TensorProto(dtype=number, **fields)
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


UNKNOWN_RANK = _proto(1, [])
UNKNOWN_RANK.tensor_shape.unknown_rank = True


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        (_proto(0, []), "type 0 cannot be read"),
        (_proto(20, [1]), "type 20 cannot be read"),
        (_proto(1, [-1]), r"shape \[-1\] is not complete"),
        (UNKNOWN_RANK, "is not complete"),
        (_proto(1, [2], tensor_content=b"1234567"), "tensor_content has 7 bytes"),
        (_proto(7, [1], tensor_content=b"\1a"), "strings are read from string_val"),
        (_proto(1, [1 << 40], float_val=[1]), "at most"),
        (_proto(1, [1 << 62, 1 << 62], float_val=[1]), "at most"),
        (_proto(7, [1 << 20], string_val=[b"x" * 2000]), "at most 16777216"),
        (_proto(1, [2**63 - 1, 2, 0]), "shape .* is not supported"),
        (_proto(1, [1] * 65, float_val=[1]), "shape .* is not supported: .*dimension"),
    ],
)
def test_messages_that_are_no_tensor(proto, message):
    with pytest.raises(tensors.TensorError, match=message):
        tensors.read_tensor(proto)


def _wire_type(field: FieldDescriptor) -> int:
    # A copied enum may be an int32: both are varints, and negative or unknown numbers survive.
    return FieldDescriptor.TYPE_INT32 if field.type == FieldDescriptor.TYPE_ENUM else field.type


def _assert_subset(ours: Descriptor, theirs: Descriptor, seen: set[str]) -> None:
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    for field in ours.fields:
        counterpart = theirs.fields_by_number[field.number]
        assert (field.name, _wire_type(field)) == (counterpart.name, _wire_type(counterpart)), field.full_name
        assert (field.is_repeated, field.is_packed) == (counterpart.is_repeated, counterpart.is_packed), field.full_name
        if field.message_type and not field.message_type.full_name.startswith("google."):
            _assert_subset(field.message_type, counterpart.message_type, seen)
        if field.enum_type and counterpart.enum_type:
            their_values = {value.name: value.number for value in counterpart.enum_type.values}
            assert {value.name: value.number for value in field.enum_type.values}.items() <= their_values.items()


@pytest.mark.parametrize(
    "theirs",
    [
        tf_predict_pb2.PredictRequest,
        tf_predict_pb2.PredictResponse,
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
        get_model_metadata_pb2.SignatureDefMap,
        get_model_status_pb2.GetModelStatusRequest,
        get_model_status_pb2.GetModelStatusResponse,
    ],
    ids=lambda message: message.DESCRIPTOR.name,
)
def test_our_messages_are_a_subset_of_tensorflow_servings(theirs):
    seen: set[str] = set()
    _assert_subset(getattr(predict_pb2, theirs.DESCRIPTOR.name).DESCRIPTOR, theirs.DESCRIPTOR, seen)
    assert len(seen) > 1
