"""Answers of an index on disk, as the quality check makes them."""

from __future__ import annotations

import pathlib
from typing import Any

from beam_index.quality.best import Best
from beam_index.quality.check import look_up, make_world, plan_of
from beam_index.quality.encode import encode
from beam_index.quality.replay import Query, replay
from beam_index.quality.sample import read_catalogue
from protos.query_inputs import HISTORY


def replayed(
    model: pathlib.Path, index: pathlib.Path, histories: list[list[str]], k: int, **features: list[Any]
) -> dict[str, Best]:
    """The k best of each query in each way of making sums; `features` are what it brings beside its history."""
    plan = plan_of(model, index)
    encoded = encode(plan, {HISTORY: histories, **features})
    overview, lists, found = look_up(plan, encoded)
    world = make_world(plan, encoded, found, overview, lists)
    return replay(Query(encoded, found.keys, read_catalogue(model).rows(histories)), world, k)
