"""What the server says of the model before it is asked anything."""

from __future__ import annotations

import grpc
import pytest

from serving.tensors import read_tensor, type_name

SIGNATURES = ("serving_default", "recommend", "encode", "explain")
CODES = {"codes": ("int32", 3), "keys": ("int64", 2), "fallback": ("bool", 2)}
ITEMS = {"item_ids": ("string", 2), "scores": ("float32", 2), "valid": ("bool", 2)}
OUTPUTS = {
    "serving_default": ITEMS | CODES,
    "recommend": ITEMS | CODES,
    "encode": CODES | {"tokens": ("float32", 3)},
    "explain": ITEMS | CODES | {"contributions": ("float32", 3), "sources": ("string", 2)},
}
CHOICES = {
    "k": ("int32", 1),
    "exclude_ids": ("string", 2),
    "allow_categories": ("string", 2),
    "deny_categories": ("string", 2),
    "include_seen": ("bool", 1),
}
SERVING = b"\x08\x01"  # HealthCheckResponse, whose field 1, the status, is 1


def described(tensors):
    return {name: (type_name(info.dtype), len(info.tensor_shape.dim)) for name, info in tensors.items()}


def test_the_signatures_are_all_there(endpoint):
    assert set(SIGNATURES) <= set(endpoint.signatures)


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_takes_and_gives_what_the_contract_says(endpoint, name):
    signature = endpoint.signatures[name]
    assert described(signature.outputs) == OUTPUTS[name]
    inputs = described(signature.inputs)
    assert inputs.pop("history") == ("string", 2)
    choices = {choice: inputs.pop(choice) for choice in CHOICES if choice in inputs}
    assert choices == (CHOICES if name in ("recommend", "explain") else {})
    features = set(described(endpoint.signatures["serving_default"].inputs)) - {"history"}
    assert set(inputs) == features, "query features are inputs of all signatures"


@pytest.mark.parametrize("name", SIGNATURES)
def test_every_tensor_is_a_batch(endpoint, name):
    """As the server's own batching needs it."""
    signature = endpoint.signatures[name]
    for tensors in (signature.inputs, signature.outputs):
        for tensor, info in tensors.items():
            assert [dim.size for dim in info.tensor_shape.dim][:1] == [-1], tensor


@pytest.mark.parametrize("name", ["recommend", "explain"])
def test_choices_may_be_left_out(endpoint, name):
    defaults = {choice: read_tensor(proto) for choice, proto in endpoint.signatures[name].defaults.items()}
    assert set(defaults) == set(CHOICES)
    assert {len(default) for default in defaults.values()} == {1}
    assert defaults["k"][0] == endpoint.signatures["serving_default"].outputs["item_ids"].tensor_shape.dim[1].size
    assert not any(defaults[choice].any() for choice in ("exclude_ids", "allow_categories", "deny_categories"))


def test_the_version_is_available(endpoint):
    states = {status.version: status.state for status in endpoint.status().model_version_status}
    assert states[endpoint.version] == 30, "AVAILABLE"


def test_an_answer_names_the_version_and_the_signature(endpoint):
    spec = endpoint.predict(endpoint.request("serving_default", [[]])).model_spec
    assert (spec.name, spec.version.value) == (endpoint.settings.model, endpoint.version)
    assert spec.signature_name == "serving_default"


def test_the_health_service_says_serving_where_there_is_one(endpoint):
    try:
        answer = endpoint.channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=30)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.UNIMPLEMENTED:
            raise
        pytest.skip("the server has no health service; TensorFlow Serving: --enable_grpc_healthcheck_service")
    assert answer == SERVING
