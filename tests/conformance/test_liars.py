"""The suite itself: a server that does not keep the contract is found out, lie by lie."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from protos import predict_pb2
from serving.tensors import read_tensor, write_tensor
from tests.conformance import test_answers, test_choices, test_explanations
from tests.conformance.endpoint import Endpoint

Lie = Callable[[predict_pb2.PredictRequest, predict_pb2.PredictResponse], None]


class Liar(Endpoint):
    """An endpoint whose answers, or what it is asked, are changed on the way."""

    def __init__(self, honest: Endpoint, before: Lie | None = None, after: Lie | None = None) -> None:
        self.__dict__ |= honest.__dict__
        self._before, self._after = before, after

    def predict(self, request: predict_pb2.PredictRequest, **options: float) -> predict_pb2.PredictResponse:
        sent = predict_pb2.PredictRequest.FromString(request.SerializeToString())
        if self._before:
            self._before(sent, predict_pb2.PredictResponse())
        response = super().predict(sent, **options)
        if self._after:
            self._after(request, response)
        return response


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Lie:
    """Changes an output, or an input where there is no such output."""

    def lie(request: predict_pb2.PredictRequest, response: predict_pb2.PredictResponse) -> None:
        tensors = response.outputs if name in response.outputs else request.inputs
        if name in tensors:
            values = change(read_tensor(tensors[name]))
            tensors[name].Clear()
            write_tensor(values, tensors[name])

    return lie


def emptied(name: str) -> Lie:
    return changed(name, lambda values: np.full(values.shape, "", object))


def filters_late(request: predict_pb2.PredictRequest, response: predict_pb2.PredictResponse) -> None:
    """What a filter after the top k leaves where the best one was excluded and k is 1: nothing."""
    excluded = set(read_tensor(request.inputs["exclude_ids"]).ravel()) - {b""}
    valid = read_tensor(response.outputs["valid"])
    if excluded and valid.any():
        changed("valid", lambda valid: valid & False)(request, response)
        changed("item_ids", lambda ids: np.full(ids.shape, "", object))(request, response)
        changed("scores", np.zeros_like)(request, response)


def swapped(values: np.ndarray) -> np.ndarray:
    """The answers of a batch in another order."""
    return np.roll(values, 1, axis=0)


def raised_first(scores: np.ndarray) -> np.ndarray:
    return np.concatenate([scores[:, :1] * 1.01, scores[:, 1:]], axis=1)


@pytest.mark.parametrize(
    ("lie", "check"),
    [
        ({"after": changed("scores", lambda scores: scores[:, ::-1])}, test_choices.test_each_query_has_its_own_k),
        ({"before": changed("k", lambda k: np.full_like(k, k.max()))}, test_choices.test_each_query_has_its_own_k),
        ({"before": emptied("exclude_ids")}, test_choices.test_excluded_items_make_room_for_others),
        ({"after": filters_late}, test_choices.test_excluded_items_make_room_for_others),
        ({"before": emptied("exclude_ids")}, test_choices.test_everything_excluded_leaves_nothing),
        (
            {"before": changed("include_seen", np.ones_like)},
            test_choices.test_seen_items_are_left_out_unless_they_are_included,
        ),
        ({"before": emptied("allow_categories")}, test_choices.test_unknown_categories_allow_nothing_and_deny_nothing),
        ({"before": emptied("allow_categories")}, test_choices.test_to_allow_and_to_deny_a_category_are_opposites),
        ({"before": emptied("deny_categories")}, test_choices.test_to_allow_and_to_deny_a_category_are_opposites),
        ({"after": changed("codes", swapped)}, test_answers.test_a_query_is_answered_alike_in_any_batch),
        ({"after": changed("item_ids", swapped)}, test_answers.test_a_query_is_answered_alike_in_any_batch),
        (
            {"after": changed("keys", lambda keys: keys[:, :-1])},
            test_answers.test_outputs_have_the_shapes_of_the_metadata,
        ),
        ({"after": changed("scores", raised_first)}, test_explanations.test_contributions_sum_to_scores),
        ({"after": changed("contributions", swapped)}, test_explanations.test_contributions_sum_to_scores),
        ({"after": changed("sources", swapped)}, test_explanations.test_tokens_of_events_name_items_of_the_history),
    ],
)
def test_a_lie_is_found_out(endpoint, request, lie, check):
    liar = Liar(endpoint, **lie)
    arguments = {"endpoint": liar, "name": "recommend", "batch": 8}
    code = check.__code__
    names = code.co_varnames[: code.co_argcount]
    values = {name: arguments[name] if name in arguments else request.getfixturevalue(name) for name in names}
    with pytest.raises(AssertionError):
        check(**values)
    check(**values | {"endpoint": endpoint})
