"""How requests fail: with which status, and that the server goes on."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from protos import predict_pb2
from serving.tensors import write_tensor
from tests.conformance.test_answers import check_same, outputs_of

NEVER = 2**40  # a version that nobody has


def other_model(request):
    request.model_spec.name = "a model that nobody serves"


def other_version(request):
    request.model_spec.version.value = NEVER


def unknown_label(request):
    request.model_spec.version_label = "no such label"


def no_model(request):
    request.ClearField("model_spec")


def no_name(request):
    request.model_spec.name = ""


def other_signature(request):
    request.model_spec.signature_name = "no such signature"


def no_history(request):
    del request.inputs["history"]


def extra_input(request):
    write_tensor([["u"]], request.inputs["no such input"])


def misspelt_input(request):
    request.inputs["histories"].CopyFrom(request.inputs["history"])
    del request.inputs["history"]


def replaced(name, values):
    def change(request):
        del request.inputs[name]
        write_tensor(values, request.inputs[name])

    return change


def truncated_history(request):
    request.inputs["history"].tensor_shape.dim[0].size = -1


def unknown_output(request):
    request.output_filter.append("no such output")


def output_twice(request):
    request.output_filter.extend(["scores", "scores"])


FAILURES = {
    "NOT_FOUND": [other_model, other_version],
    "FAILED_PRECONDITION": [other_signature],
    "INVALID_ARGUMENT": [
        *(unknown_label, no_model, no_name, no_history, extra_input, misspelt_input),
        *(truncated_history, unknown_output, output_twice),
        pytest.param(replaced("history", np.array([[1]])), id="history_of_numbers"),
        pytest.param(replaced("history", ["a", "b"]), id="history_of_rank_1"),
        pytest.param(replaced("history", [[["a"]], [["b"]]]), id="history_of_rank_3"),
        pytest.param(replaced("k", np.array([1], np.int64)), id="k_of_int64"),
        pytest.param(replaced("k", np.array([[1], [2]], np.int32)), id="k_of_rank_2"),
        pytest.param(replaced("k", np.array([1, 2, 3], np.int32)), id="k_of_another_batch"),
        pytest.param(replaced("exclude_ids", [["a"], ["b"], ["c"]]), id="exclusions_of_another_batch"),
        pytest.param(replaced("include_seen", np.array([1.0, 2.0], np.float32)), id="include_seen_of_floats"),
    ],
}
CASES = [
    pytest.param(code, *getattr(case, "values", (case,)), id=getattr(case, "id", None) or case.__name__)
    for code, cases in FAILURES.items()
    for case in cases
]


def failure(call, *arguments, **keywords):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **keywords)
    return caught.value.code().name


@pytest.mark.parametrize(("code", "change"), CASES)
def test_a_wrong_request_fails_with_its_code_and_a_right_one_is_answered(endpoint, items, code, change):
    good = endpoint.request("recommend", [items[:1], []])
    expected = outputs_of(endpoint.predict(good))
    bad = predict_pb2.PredictRequest.FromString(good.SerializeToString())
    change(bad)
    assert failure(endpoint.predict, bad) == code
    check_same(outputs_of(endpoint.predict(good)), expected)


def test_a_deadline_that_cannot_be_kept_is_exceeded_and_the_server_goes_on(endpoint, histories):
    request = endpoint.request("explain", histories * 8)
    assert failure(endpoint.predict, request, timeout=1e-4) == "DEADLINE_EXCEEDED"
    assert endpoint.ask("recommend", histories)


def test_metadata_and_status_of_no_model_are_not_found(endpoint):
    nobody = predict_pb2.ModelSpec(name="a model that nobody serves")
    assert failure(endpoint.metadata, model_spec=nobody) == "NOT_FOUND"
    assert failure(endpoint.status, model=nobody.name) == "NOT_FOUND"


@pytest.mark.parametrize("fields", [[], ["no such field"]], ids=["none", "unknown"])
def test_metadata_of_no_field_is_invalid(endpoint, fields):
    assert failure(endpoint.metadata, metadata_field=fields) == "INVALID_ARGUMENT"


def test_a_method_that_nobody_has_is_unimplemented(endpoint):
    call = endpoint.channel.unary_unary("/tensorflow.serving.PredictionService/NoSuchMethod")
    assert failure(call, b"", timeout=30) == "UNIMPLEMENTED"
