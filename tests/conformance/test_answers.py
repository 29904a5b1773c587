"""What every signature answers: shapes, edges of histories, and that a query's answer is its own in any batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from protos import predict_pb2
from serving.tensors import type_name
from tests.conformance.endpoint import outputs_of, ranked
from tests.conformance.test_metadata import SIGNATURES

EXACT = ("codes", "keys", "fallback", "sources")
# Of a score in another batch: a matrix product has other last bits at other widths.
TOLERANCE = 1e-4
LONG_PERIOD = 3


def check_same(found, expected, query=slice(None)):
    """The answer to `query` of a batch is the one expected; widths may differ."""
    for name in EXACT:
        if name in expected:
            np.testing.assert_array_equal(found[name][query], expected[name], err_msg=name)
    if "tokens" in expected:
        np.testing.assert_allclose(found["tokens"][query], expected["tokens"], rtol=TOLERANCE, atol=1e-6)
    if "scores" in expected:
        for ours, theirs in zip(ranked(found)[query], ranked(expected), strict=True):
            check_same_ranking(ours, theirs)


def check_same_ranking(found, expected):
    """The same scores at the same places, and the same items but where scores are too near to tell them apart."""
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=TOLERANCE)
    last = expected[-1][1] * (1 + TOLERANCE) if expected else 0
    assert {item for item, score in found if score > last} == {item for item, score in expected if score > last}
    scores = dict(expected)
    for item, score in found:
        assert scores.get(item, score) == pytest.approx(score, rel=TOLERANCE), item


@pytest.mark.parametrize("batch", [1, 8, 32])
@pytest.mark.parametrize("name", SIGNATURES)
def test_outputs_have_the_shapes_of_the_metadata(endpoint, histories, name, batch):
    outputs = endpoint.ask(name, histories[:batch])
    declared = endpoint.signatures[name].outputs
    assert set(outputs) == set(declared)
    for output, info in declared.items():
        _, *sizes = (dim.size for dim in info.tensor_shape.dim)
        rows, *got = outputs[output].shape
        assert rows == batch
        assert all(size in (-1, found) for size, found in zip(sizes, got, strict=True)), (output, sizes, got)
        assert outputs[output].dtype.name.replace("object", "string") == type_name(info.dtype)


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_request_is_answered_alike_each_time(endpoint, histories, name):
    first, second = (endpoint.ask(name, histories) for _ in range(2))
    for output, values in first.items():
        np.testing.assert_array_equal(second[output], values, err_msg=output)


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_query_is_answered_alike_in_any_batch(endpoint, histories, name):
    together = endpoint.ask(name, histories)
    for query, history in enumerate(histories):
        check_same(together, endpoint.ask(name, [history]), slice(query, query + 1))


def test_requests_side_by_side_are_answered_alike(endpoint, histories):
    """Where the server batches, it joins them."""
    expected = endpoint.ask("recommend", histories)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda history: endpoint.ask("recommend", [history]), histories * 4))
    for place, answer in enumerate(answers):
        query = place % len(histories)
        check_same(expected, answer, slice(query, query + 1))


@pytest.mark.parametrize("name", SIGNATURES)
def test_padding_and_unknown_ids_change_nothing(endpoint, items, name):
    first, second = items[:2]
    expected = endpoint.ask(name, [[first, second]])
    for history in (
        ["", first, "", second, ""],
        [first, "nobody's", second],
        [first, second, *[""] * 40],
    ):
        check_same(endpoint.ask(name, [history]), expected)


@pytest.mark.parametrize("name", SIGNATURES)
def test_no_history_no_known_id_and_no_width_are_the_same(endpoint, name):
    expected = endpoint.ask(name, [[]])
    check_same(endpoint.ask(name, [["nobody's"] * 3]), expected)
    request = endpoint.request(name, [[]])
    for given in request.inputs.values():  # the history, and the features of its events
        if len(given.tensor_shape.dim) > 1 and given.tensor_shape.dim[1].size == 32:
            given.tensor_shape.dim[1].size = 0
            for field in (given.string_val, given.float_val):
                del field[:]
    check_same(outputs_of(endpoint.predict(request)), expected)


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_history_longer_than_any_window_with_repeats_is_answered(endpoint, items, name):
    history = [items[place % LONG_PERIOD % len(items)] for place in range(500)]
    outputs = endpoint.ask(name, [history, []])
    check_same(outputs, endpoint.ask(name, [[]]), slice(1, 2))
    if "item_ids" in outputs:
        assert not {item for item, _ in ranked(outputs)[0]} & set(history)


def test_only_the_outputs_asked_for_are_given(endpoint, histories):
    request = endpoint.request("serving_default", histories[:2])
    request.output_filter.extend(["keys", "item_ids"])
    assert set(endpoint.predict(request).outputs) == {"keys", "item_ids"}


def test_the_default_signature_is_the_one_without_a_name(endpoint, histories):
    request = endpoint.request("serving_default", histories)
    request.model_spec.signature_name = ""
    check_same(outputs_of(endpoint.predict(request)), endpoint.ask("serving_default", histories))


def test_content_and_lists_of_values_are_the_same(endpoint, histories):
    """A tensor's numbers may come as bytes, as TensorFlow's own clients send them."""
    request = endpoint.request("recommend", histories[:3], k=[3, 0, 2])
    k = predict_pb2.TensorProto(dtype=3, tensor_content=np.array([3, 0, 2], "<i4").tobytes())
    k.tensor_shape.dim.add(size=3)
    expected = outputs_of(endpoint.predict(request))
    request.inputs["k"].CopyFrom(k)
    check_same(outputs_of(endpoint.predict(request)), expected)
