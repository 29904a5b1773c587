"""A query as the body of a search request. Needs nothing but NumPy, so that a frontend can use it as it is.

    f(q, c) = sum_k weight_k * scale_k * level_k(c)

A key is a clause, its boost is weight_k * scale_k, and the engine adds up what the clauses give: each
boost times level in float32, the sum in float64, the result in float32.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from protos.codes import CodeSpace
from protos.errors import UserError

QUERY_FILE = "query.json"
SCALES_FILE = "scales.json"
DEFAULT_SIZE = 100
# Limits that both engines come with.
MAX_SIZE = 10_000
MAX_CLAUSES = 1024
NO_KEY = -1


def template(codes_field: str, row_field: str, space: CodeSpace, model_fingerprint: str) -> dict[str, Any]:
    """The content of `query.json`.

    Its `body` is a search request but for its clauses, `clause` is one of them: for each key a copy of it
    goes into `query.bool.should`, with the key after the dot of `field` and weight x scale as `boost`.
    """
    return {
        "body": {
            "size": DEFAULT_SIZE,
            "track_total_hits": False,
            "_source": {"excludes": [codes_field]},
            "query": {"bool": {"should": [], "minimum_should_match": 1, "must_not": [{"ids": {"values": []}}]}},
            # The score alone leaves ties in the order of the engine's segments.
            "sort": [{"_score": "desc"}, {row_field: "asc"}],
        },
        "clause": {"rank_feature": {"field": f"{codes_field}.", "linear": {}, "boost": 1.0}},
        "code_space": dataclasses.asdict(space),
        "model_fingerprint": model_fingerprint,
    }


@dataclasses.dataclass(frozen=True)
class Query:
    """What turns keys and weights into search requests.

    Attributes:
      body: of a search request without its clauses.
      clause: of one key.
      scales: by key; of all lists, 0 where one is empty.
      space: the model's codes.
      model_fingerprint: of the model whose keys these are.
    """

    body: Mapping[str, Any]
    clause: Mapping[str, Any]
    scales: Mapping[int, float]
    space: CodeSpace
    model_fingerprint: str

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Query:
        """Reads `query.json` and `scales.json` of an export.

        Raises:
          UserError: one of them is not there.
        """
        content, scales = (_read(pathlib.Path(directory) / name) for name in (QUERY_FILE, SCALES_FILE))
        return cls(
            body=content["body"],
            clause=content["clause"],
            scales={int(key): scale for key, scale in scales.items()},
            space=CodeSpace(**content["code_space"]),
            model_fingerprint=content["model_fingerprint"],
        )

    def fill(
        self,
        keys: Sequence[int],
        weights: Sequence[float],
        seen: Iterable[str] = (),
        size: int = DEFAULT_SIZE,
    ) -> dict[str, Any]:
        """The body of the request that ranks items by f(q, c), ties by ascending row.

        Keys without a list add nothing; see `nearest_listed` for those of codes. Without any key that has a
        list the request is answered with no items.

        Args:
          keys: `[K]`, of the query model; -1 is no key, and a key may occur more than once.
          weights: `[K]`, of the query model.
          seen: ids of items that are not to be returned.
          size: most items to return.

        Raises:
          UserError: there is not one weight a key, a weight is negative or not finite, `size` is out of
            range, or there are more clauses than an engine takes.
        """
        _check(keys, weights, size)
        boosts = self._boosts(keys, weights)
        if len(boosts) > MAX_CLAUSES:
            raise UserError(f"the query has {len(boosts)} keys with a list; an engine takes {MAX_CLAUSES} clauses")
        body = copy.deepcopy(dict(self.body))
        body["size"] = size
        clauses = [self._filled(key, boost) for key, boost in boosts.items()]
        # A query that has only what must not match would match all else.
        body["query"]["bool"]["should"] = clauses or [{"match_none": {}}]
        body["query"]["bool"]["must_not"][0]["ids"]["values"] = list(seen)
        return body

    def nearest_listed(self, keys: Sequence[int], distances: np.ndarray) -> list[int]:
        """Keys whose codes have a list: that of the nearest code of the slot, where a token's own has none.

        As the servable does it. Only an index of observed codes has codes without a list.

        Args:
          keys: `[K_u + H]`, of the query model: quantised tokens, then events.
          distances: `[K_u, M, N]`, of the query model.
        """
        nearest = [
            key if key in self.scales else self._nearest(key, distance)
            for key, distance in zip(keys, distances, strict=False)
        ]
        return [*nearest, *keys[len(nearest) :]]

    def _nearest(self, key: int, distances: np.ndarray) -> int:
        """The key nearest to a token given by its own key and its distances `[M, N]`."""
        of_slot = self._listed[self._listed // self.space.codes_per_slot == key // self.space.codes_per_slot]
        if not len(of_slot):
            return key
        _, codes = self.space.decode(of_slot)
        distance = distances[np.arange(self.space.num_codebooks), codes].sum(axis=1)
        return int(of_slot[distance.argmin()])

    @functools.cached_property
    def _listed(self) -> np.ndarray:
        """Keys of the codes that have a list, `[C]` int64, ascending."""
        return np.array(sorted(key for key in self.scales if key < self.space.size), np.int64)

    def _boosts(self, keys: Sequence[int], weights: Sequence[float]) -> dict[int, float]:
        """Weight times scale of each distinct key with postings; weights of equal keys add up."""
        totals: dict[int, float] = {}
        for key, weight in zip(keys, weights, strict=True):
            if key != NO_KEY and weight > 0 and self.scales.get(int(key), 0) > 0:
                totals[int(key)] = totals.get(int(key), 0.0) + float(weight)
        return {key: weight * self.scales[key] for key, weight in totals.items()}

    def _filled(self, key: int, boost: float) -> dict[str, Any]:
        clause = copy.deepcopy(dict(self.clause))
        clause["rank_feature"]["field"] += str(key)
        clause["rank_feature"]["boost"] = boost
        return clause


def _check(keys: Sequence[int], weights: Sequence[float], size: int) -> None:
    if len(keys) != len(weights):
        raise UserError(f"the query has {len(keys)} keys and {len(weights)} weights; expected one weight a key")
    for key, weight in zip(keys, weights, strict=True):
        if not 0 <= weight < np.inf:
            raise UserError(f"the weight of key {key} is {weight}; expected a finite number from 0 up")
    if not 1 <= size <= MAX_SIZE:
        raise UserError(f"the size of the answer is {size}; expected 1 to {MAX_SIZE:,}")


def _read(path: pathlib.Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path} does not exist; expected what python -m beam_index.to_elasticsearch wrote")
    return json.loads(path.read_text(encoding="utf-8"))
