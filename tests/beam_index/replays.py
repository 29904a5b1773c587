"""Answers of an index on disk, as the quality check makes them."""

from __future__ import annotations

import pathlib

from beam_index.quality.best import Best
from beam_index.quality.check import look_up, make_world, plan_of
from beam_index.quality.encode import encode
from beam_index.quality.replay import Query, replay
from beam_index.quality.sample import read_catalogue
from protos.query_inputs import HISTORY


def replayed(model: pathlib.Path, index: pathlib.Path, histories: list[list[str]], k: int) -> dict[str, Best]:
    """The k best of each history in each way of making sums."""
    plan = plan_of(model, index)
    encoded = encode(plan, {HISTORY: histories})
    overview, lists, found = look_up(plan, encoded)
    world = make_world(plan, encoded, found, overview, lists)
    return replay(Query(encoded, found.keys, read_catalogue(model).rows(histories)), world, k)
