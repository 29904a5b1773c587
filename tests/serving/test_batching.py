"""The file of batching parameters, read as TensorFlow Serving reads it."""

from __future__ import annotations

import itertools

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from protos.errors import UserError
from serving.batching import Batching

# BatchingParameters of tensorflow_serving/servables/tensorflow/session_bundle_config.proto, which the package
# tensorflow-serving-api does not have.
WRAPPED = {"max_batch_size": 1, "batch_timeout_micros": 2, "max_enqueued_batches": 3, "num_batch_threads": 4}


def batching_parameters():
    """The message's class."""
    file = descriptor_pb2.FileDescriptorProto(name="batching.proto", package="t", syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name="BatchingParameters")
    field, int64 = descriptor_pb2.FieldDescriptorProto, ".google.protobuf.Int64Value"
    for name, number in WRAPPED.items():
        message.field.add(name=name, number=number, type=field.TYPE_MESSAGE, type_name=int64, label=1)
    message.field.add(name="allowed_batch_sizes", number=6, type=field.TYPE_INT64, label=3)
    message.field.add(name="pad_variable_length_inputs", number=7, type=field.TYPE_BOOL, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.BatchingParameters"))


PARAMETERS = batching_parameters()


@given(st.integers(1, 5000), st.integers(0, 10**6), st.integers(1, 64), st.integers(1, 1000))
def test_the_file_says_what_was_asked_for_by_the_servers_rules(size, timeout, threads, enqueued):
    parsed = text_format.Parse(Batching(size, timeout, threads, enqueued).text(), PARAMETERS())
    assert {name: getattr(parsed, name).value for name in WRAPPED} == {
        "max_batch_size": size,
        "batch_timeout_micros": timeout,
        "max_enqueued_batches": enqueued,
        "num_batch_threads": threads,
    }
    sizes = list(parsed.allowed_batch_sizes)
    assert sizes == sorted(set(sizes)), "the server wants them in increasing order"
    assert sizes[-1] == size, "and the last to be the greatest batch"
    assert all(later <= 2 * size for size, later in itertools.pairwise(sizes))
    assert not parsed.pad_variable_length_inputs


@pytest.mark.parametrize("name", ["max_batch_size", "num_batch_threads", "max_enqueued_batches"])
def test_what_the_server_would_crash_on_is_refused(name):
    with pytest.raises(UserError, match=f"batching: {name} is 0; expected at least 1"):
        Batching(**{name: 0})
