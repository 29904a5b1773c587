"""What a served model answers, read for users: places that hold nothing are left out."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from protos import predict_pb2
from serving.wire import read

ENCODE_OUTPUTS = ("codes", "tokens", "keys", "fallback")
RECOMMEND_OUTPUTS = ("item_ids", "scores", "valid", "codes", "keys", "fallback")
EXPLAIN_OUTPUTS = (*RECOMMEND_OUTPUTS, "contributions", "sources")


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """What one query was answered, best item first.

    Attributes:
      item_ids: public ids, at most as many as were asked for.
      scores: one an item, descending.
      codes: of each quantised token, its code in every codebook.
      keys: of each quantised token the key that was looked up, after fallback; then of each event the key of
        its list, -1 where there is none.
      fallback: one a key: whether a token's own code had no list and another stood in; never of an event.
      model_version: the version that answered.
    """

    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    codes: tuple[tuple[int, ...], ...]
    keys: tuple[int, ...]
    fallback: tuple[bool, ...]
    model_version: int


@dataclasses.dataclass(frozen=True)
class Explanation(Recommendation):
    """A recommendation that says why.

    Attributes:
      contributions: of each item what each key added to its score.
      sources: of each key the item whose event it is; "" for quantised tokens, and where there is no event.
    """

    contributions: tuple[tuple[float, ...], ...]
    sources: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Encoding:
    """What a query becomes before anything is looked up.

    Attributes:
      codes: of each quantised token, its code in every codebook.
      tokens: each token as it is before quantisation.
      keys, fallback, model_version: as of a Recommendation.
    """

    codes: tuple[tuple[int, ...], ...]
    tokens: tuple[tuple[float, ...], ...]
    keys: tuple[int, ...]
    fallback: tuple[bool, ...]
    model_version: int


def read_recommendations(response: predict_pb2.PredictResponse) -> list[Recommendation]:
    """The answers to the queries of one request that asked for RECOMMEND_OUTPUTS."""
    return [Recommendation(**row) for row in _recommendations(response)]


def read_explanations(response: predict_pb2.PredictResponse) -> list[Explanation]:
    """The answers to the queries of one request that asked for EXPLAIN_OUTPUTS."""
    return [
        Explanation(**row | {"sources": tuple(item.decode() for item in row["sources"])})
        for row in _recommendations(response, "contributions")
    ]


def read_encodings(response: predict_pb2.PredictResponse) -> list[Encoding]:
    """The answers to the queries of one request that asked for ENCODE_OUTPUTS."""
    return [Encoding(**row) for row in _rows(response)]


def _rows(response: predict_pb2.PredictResponse) -> Iterator[dict[str, Any]]:
    """The outputs of each query, lists as tuples, and the version that answered."""
    outputs = {name: read(proto).nested() for name, proto in response.outputs.items()}
    for row in zip(*outputs.values(), strict=True):
        yield dict(zip(outputs, map(_frozen, row), strict=True)) | {"model_version": response.model_spec.version.value}


def _recommendations(response: predict_pb2.PredictResponse, *more: str) -> Iterator[dict[str, Any]]:
    """Rows whose outputs of one value an item, `more` among them, hold only what is valid."""
    for row in _rows(response):
        valid = row.pop("valid")
        for name in ("item_ids", "scores", *more):
            row[name] = tuple(itertools.compress(row[name], valid))
        yield row | {"item_ids": tuple(item.decode() for item in row["item_ids"])}


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
