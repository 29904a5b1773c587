"""What a build would be, without building: `python -m beam_index.build --dry_run`."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time

import numpy as np

from beam_index.budget.choose import code_keys, undecided
from beam_index.budget.sizes import sizes_of
from beam_index.geometry import CHUNK_CODES, tile_span
from beam_index.options import BuildOptions
from beam_index.plan import EXPORT_FORMAT, Plan, make_plan
from beam_index.scoring import cut, shared_scorer
from beam_index.screening import screen_queries, without_bad_items
from protos.artifact import read_manifest

_ROUNDS = 3  # of the sample, of which the fastest counts: the first one makes the graph


@dataclasses.dataclass(frozen=True)
class Forecast:
    """Sizes of a build.

    Attributes:
      codes: that get a list.
      items: of the catalogue, those that were removed left out.
      pairs: of code and item that would be scored.
      most_bytes: of lists and block.
      seconds: that the pairs take one core.
    """

    codes: int
    items: int
    pairs: int
    most_bytes: int
    seconds: float

    def __str__(self) -> str:
        cores = os.cpu_count() or 1
        return (
            f"codes             {self.codes:,}\n"
            f"items             {self.items:,}\n"
            f"pairs to score    {self.pairs:,}\n"
            f"bytes             {self.most_bytes:,} at most\n"
            f"seconds           about {self.seconds:,.1f} of one core to score them, {self.seconds / cores:,.1f} on"
            f" {cores} cores; then sorting, and measuring its quality\n"
            "nothing was written"
        )


def forecast(options: BuildOptions) -> Forecast:
    """Reckons what the build of these options would be; scores a chunk of codes and a tile of items to know the speed.

    Of `--max_bytes` the bytes are that number; an update (`--base_index`) is reckoned as a full build.

    Raises:
      UserError: the build would refuse the options, the export or its queries.
    """
    export = read_manifest(options.model, EXPORT_FORMAT)
    with tempfile.TemporaryDirectory() as scratch:
        plan = make_plan(undecided(options), export, scratch, journal=os.path.join(scratch, "journal"))
        plan = without_bad_items(plan, options.max_bad_share)
        screen_queries(plan, options.max_bad_share)
        keys = code_keys(plan)
        per_code = min(plan.num_items, options.candidates or plan.num_items)
        pairs = len(keys) * per_code
        seconds = pairs * _seconds_per_pair(plan, keys[:CHUNK_CODES])
        return Forecast(len(keys), plan.num_items - len(plan.removed), pairs, _most_bytes(plan, options, keys), seconds)


def _most_bytes(plan: Plan, options: BuildOptions, keys: np.ndarray) -> int:
    if options.max_bytes is not None:
        return options.max_bytes
    sizes = sizes_of(plan, len(keys))
    return sizes.total(options.block, options.score_bits, options.postings_per_code)


def _seconds_per_pair(plan: Plan, keys: np.ndarray) -> float:
    """What a pair takes a core, in the calls of which the build makes its scores."""
    scorer, width = shared_scorer(plan), tile_span(0, plan.num_items).width
    codes, items = scorer.code_parts(keys), scorer.item_parts(0)
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for first in range(0, CHUNK_CODES, plan.call_codes):
            scorer.scores(cut(codes, slice(first, first + plan.call_codes)), items, width)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / (CHUNK_CODES * width)
