"""Predict requests as an attacker or a broken client would send them, made from the signatures of any model.

A request starts as a good one for a random signature; then one to three things go wrong with it. Everything
comes from a seed, so a request that finds something can be made again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

Request = predict_pb2.PredictRequest
Signature = meta_graph_pb2.SignatureDef
Signatures = Mapping[str, Signature]

LISTS = {
    types_pb2.DT_STRING: "string_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_BOOL: "bool_val",
}
SIZES = (-(2**63), -1, 0, 1, 7, 2**16, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)
INTEGERS = (-(2**31), -1, 0, 1, 999, 1000, 1001, 2**31 - 1)
STRINGS = (b"", b"\0", b"\xff\xfe", "é".encode(), b"x" * 100_000, b"-1", b"None")
HUGE_LIST = [b"%d" % number for number in range(20_000)]


class HostileRequests:
    """Makes requests of one model, each as the bytes on the wire."""

    def __init__(self, seed: int, model: str, signatures: Signatures, ids: Sequence[str]) -> None:
        """Knows the model's name, its signatures and some ids that mean something to it."""
        self.random = random.Random(seed)
        self.model = model
        # The initialiser's signature has no method: it is none for callers, and TensorFlow Serving says INTERNAL.
        self.signatures = {name: signature for name, signature in sorted(signatures.items()) if signature.method_name}
        self.ids = [*(item.encode() for item in ids), b"", b"unknown"]

    def good(self) -> Request:
        """A request that is right, for any signature, with any of its optional inputs."""
        name = self.random.choice(list(self.signatures))
        signature = self.signatures[name]
        request = Request()
        request.model_spec.name = self.model
        request.model_spec.signature_name = name
        batch = self.random.choice((1, 2, 5))
        for alias, info in sorted(signature.inputs.items()):
            if alias not in signature.defaults or self.random.random() < 0.5:
                self.fill(request.inputs[alias], info, batch)
        return request

    def fill(self, proto: tensor_pb2.TensorProto, info: meta_graph_pb2.TensorInfo, batch: int) -> None:
        """Makes the tensor one that an input takes."""
        proto.dtype = info.dtype
        size = 1
        for axis, dim in enumerate(info.tensor_shape.dim):
            free = batch if axis == 0 else self.random.choice((1, 3, 32))
            proto.tensor_shape.dim.add(size=free if dim.size == -1 else dim.size)
            size *= proto.tensor_shape.dim[axis].size
        getattr(proto, LISTS[info.dtype]).extend(self.value(info.dtype) for _ in range(size))

    def value(self, dtype: int) -> bytes | int | float | bool:
        """One element of a type."""
        if dtype == types_pb2.DT_STRING:
            return self.random.choice(self.ids)
        if dtype == types_pb2.DT_FLOAT:
            return self.random.random()
        return self.random.random() < 0.5 if dtype == types_pb2.DT_BOOL else self.random.randint(0, 20)

    def next(self) -> tuple[str, bytes]:
        """What is wrong with the next request, and its bytes."""
        request, wrong = self.good(), []
        for fault in self.random.sample(FAULTS, self.random.choice((0, 1, 1, 1, 2, 3))):
            fault(self, request)
            wrong.append(fault.__name__)
        data = request.SerializeToString(deterministic=True)
        if not wrong or self.random.random() < 0.1:
            damage = self.random.choice(DAMAGES)
            wrong.append(damage.__name__)
            data = damage(self, data)
        return "+".join(wrong), data

    def tensor(self, request: Request) -> tensor_pb2.TensorProto:
        """One of the request's inputs; a new one where it has none left."""
        return request.inputs[self.random.choice(sorted(request.inputs) or ["history"])]


# --- What goes wrong in the message ---------------------------------------------------------------


def wrong_type(make: HostileRequests, request: Request) -> None:
    make.tensor(request).dtype = make.random.choice((0, 1, 2, 3, 7, 9, 10, 20, 21, 23, 101, 2**31 - 1, -1))


def wrong_size(make: HostileRequests, request: Request) -> None:
    dims = make.tensor(request).tensor_shape.dim
    make.random.choice(dims or [dims.add()]).size = make.random.choice(SIZES)


def wrong_rank(make: HostileRequests, request: Request) -> None:
    dims = make.tensor(request).tensor_shape.dim
    if dims and make.random.random() < 0.5:
        dims.pop()
    else:
        for _ in range(make.random.choice((1, 2, 70, 300))):
            dims.add(size=1)


def no_shape(make: HostileRequests, request: Request) -> None:
    shape = make.tensor(request).tensor_shape
    shape.Clear()
    shape.unknown_rank = make.random.random() < 0.5


def other_batch(make: HostileRequests, request: Request) -> None:
    dims = make.tensor(request).tensor_shape.dim
    if dims:
        dims[0].size = make.random.choice((0, 2, 3, 1000, 100_000))


def content(make: HostileRequests, request: Request) -> None:
    make.tensor(request).tensor_content = make.random.randbytes(make.random.choice((1, 3, 4, 8, 1000)))


def too_few_values(make: HostileRequests, request: Request) -> None:
    proto = make.tensor(request)
    for field in LISTS.values():
        del getattr(proto, field)[make.random.choice((0, 1)) :]


def values_of_another_type(make: HostileRequests, request: Request) -> None:
    dtype = make.random.choice(list(LISTS))
    getattr(make.tensor(request), LISTS[dtype]).extend(make.value(dtype) for _ in range(3))


def extreme_numbers(make: HostileRequests, request: Request) -> None:
    """A huge k, a negative one, an infinite feature."""
    for proto in request.inputs.values():
        for position in range(len(proto.int_val)):
            proto.int_val[position] = make.random.choice(INTEGERS)
        for position in range(len(proto.float_val)):
            proto.float_val[position] = make.random.choice((float("nan"), float("inf"), -1e38, 0.0))


def extreme_strings(make: HostileRequests, request: Request) -> None:
    for proto in request.inputs.values():
        for position in range(min(len(proto.string_val), 3)):
            proto.string_val[position] = make.random.choice(STRINGS)


def huge_list(make: HostileRequests, request: Request) -> None:
    """A history, an exclusion or a category list far longer than any that is meant."""
    wide = [proto for _, proto in sorted(request.inputs.items()) if len(proto.tensor_shape.dim) == 2]
    if wide:
        proto = make.random.choice(wide)
        proto.tensor_shape.dim[1].size = make.random.choice((1000, len(HUGE_LIST)))
        proto.string_val.extend(HUGE_LIST[: 1000 if make.random.random() < 0.8 else None])


def no_input(make: HostileRequests, request: Request) -> None:
    if request.inputs:
        del request.inputs[make.random.choice(sorted(request.inputs))]


def unknown_input(make: HostileRequests, request: Request) -> None:
    name = make.random.choice(("", "k ", "History", "é" * 2000, "serving_default_history:0"))
    request.inputs[name].CopyFrom(make.tensor(request))


def wrong_outputs(make: HostileRequests, request: Request) -> None:
    name = make.random.choice(("scores", "item_ids", "", "é" * 2000, "StatefulPartitionedCall:0"))
    request.output_filter.extend([name] * make.random.choice((1, 2, 1000)))


def some_outputs(make: HostileRequests, request: Request) -> None:
    """Not wrong, but for each set of outputs TensorFlow could keep a plan for ever."""
    names = sorted(make.signatures.get(request.model_spec.signature_name or "serving_default", Signature()).outputs)
    request.output_filter.extend(make.random.sample(names, make.random.randrange(len(names) + 1)))


def wrong_signature(make: HostileRequests, request: Request) -> None:
    names = ("predict", " ", "\0", "serving_default:0", "x" * 100_000, *make.signatures)
    request.model_spec.signature_name = make.random.choice(names)


def wrong_version(make: HostileRequests, request: Request) -> None:
    request.model_spec.version.value = make.random.choice((-1, 0, 2, 2**63 - 1))


def wrong_label(make: HostileRequests, request: Request) -> None:
    request.model_spec.version_label = make.random.choice(("", "stable", "é" * 2000))


def wrong_model(make: HostileRequests, request: Request) -> None:
    request.model_spec.name = make.random.choice(("", "nobody", "../../etc/passwd", "x" * 100_000))


def no_model_spec(make: HostileRequests, request: Request) -> None:
    request.ClearField("model_spec")


FAULTS: Sequence[Callable[[HostileRequests, Request], None]] = (
    wrong_type,
    wrong_size,
    wrong_rank,
    no_shape,
    other_batch,
    content,
    too_few_values,
    values_of_another_type,
    extreme_numbers,
    extreme_strings,
    huge_list,
    no_input,
    unknown_input,
    wrong_outputs,
    some_outputs,
    wrong_signature,
    wrong_version,
    wrong_label,
    wrong_model,
    no_model_spec,
)


# --- What goes wrong with the bytes ---------------------------------------------------------------


def truncated(make: HostileRequests, data: bytes) -> bytes:
    return data[: make.random.randrange(len(data) + 1)]


def flipped_bits(make: HostileRequests, data: bytes) -> bytes:
    damaged = bytearray(data or b"\0")
    for _ in range(make.random.choice((1, 1, 3, 30))):
        damaged[make.random.randrange(len(damaged))] ^= 1 << make.random.randrange(8)
    return bytes(damaged)


def inserted_bytes(make: HostileRequests, data: bytes) -> bytes:
    at = make.random.randrange(len(data) + 1)
    return data[:at] + make.random.randbytes(make.random.choice((1, 5, 50))) + data[at:]


def invalid_utf8(make: HostileRequests, data: bytes) -> bytes:
    return data.replace(make.model.encode(), b"\xff" * len(make.model))


def noise(make: HostileRequests, data: bytes) -> bytes:
    return make.random.randbytes(make.random.choice((0, 1, 10, 1000)))


DAMAGES: Sequence[Callable[[HostileRequests, bytes], bytes]] = (
    truncated,
    flipped_bits,
    inserted_bytes,
    invalid_utf8,
    noise,
)
