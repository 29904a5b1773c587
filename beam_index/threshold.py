"""The threshold that makes all lists of codes together fit a number of postings (`--max_postings`).

A quantile sketch (REQ, Cormode et al. 2021, of Apache DataSketches: exact within a share of the tail) says
between which two scores the threshold must lie; the few scores between are then gathered and the threshold
taken from them. So it is the exact one, and the same whatever the order in which sketches were merged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import AsSingleton, PCollection
from datasketches import req_floats_sketch

from beam_index.plan import Plan
from beam_index.postings import listed_scores
from protos.errors import UserError

# Accuracy of the sketch: some 0.4% of the postings that are kept.
_SIZE = 50
# More than the library's most, which is sure enough: were the threshold not between, the build would fail.
_STANDARD_DEVIATIONS = 3
_SLACK = 3.0
# Scores, on either side: the sketch knows the greatest exactly, but a rank falls between two of them.
_FEW = 3


class BudgetFloor(beam.PTransform):
    """(chunk, ranks `[n, <= depth]`) to the score that postings must be above: one element, float32."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, ranks: PCollection) -> PCollection:
        """See the class."""
        plan = self._plan
        if plan.max_code_postings is None:
            return ranks.pipeline | "Floor" >> beam.Create([plan.list_floor])
        # [p] float32
        scores = ranks | "Scores" >> beam.Map(scores_of_chunk, plan)
        # (least, greatest)
        bracket = (
            scores
            | "Sketch" >> beam.CombineGlobally(Sketched())
            | "Bracket" >> beam.Map(bracket_of, plan.max_code_postings, plan.list_floor)
        )
        # Between, of a chunk and then of all
        return (
            scores
            | "Between" >> beam.Map(between, AsSingleton(bracket))
            | "All" >> beam.CombineGlobally(join)
            | "Threshold" >> beam.Map(threshold, plan.max_code_postings, plan.list_floor)
        )


def scores_of_chunk(of_chunk: tuple[int, np.ndarray], plan: Plan) -> np.ndarray:
    """Scores S `[p]` of all that the lists of a chunk would hold without a budget."""
    limit = plan.postings_per_code
    return np.concatenate([listed_scores(ranks[: limit + 1], limit, plan.list_floor) for ranks in of_chunk[1]])


class Sketched(beam.CombineFn):
    """Arrays of scores to a sketch of them, as bytes."""

    def create_accumulator(self) -> bytes:
        """An empty sketch."""
        return req_floats_sketch(_SIZE, True).serialize()

    def add_input(self, accumulator: bytes, scores: np.ndarray) -> bytes:
        """Adds scores `[p]`."""
        sketch = req_floats_sketch.deserialize(accumulator)
        sketch.update(scores)
        return sketch.serialize()

    def merge_accumulators(self, accumulators: Iterable[bytes]) -> bytes:
        """Merges sketches."""
        merged = req_floats_sketch(_SIZE, True)
        for accumulator in accumulators:
            merged.merge(req_floats_sketch.deserialize(accumulator))
        return merged.serialize()

    def extract_output(self, accumulator: bytes) -> bytes:
        """The sketch."""
        return accumulator


def bracket_of(sketch: bytes, most: int, floor: np.float32) -> tuple[np.float32, np.float32]:
    """Two scores, one below and one above the threshold above which `most` scores are."""
    of_scores = req_floats_sketch.deserialize(sketch)
    if of_scores.n <= most:
        return floor, floor
    rank, few = 1 - most / of_scores.n, _FEW / of_scores.n
    below = rank - of_scores.get_rank_lower_bound(rank, _STANDARD_DEVIATIONS)
    above = of_scores.get_rank_upper_bound(rank, _STANDARD_DEVIATIONS) - rank
    least, greatest = max(0.0, rank - _SLACK * below - few), min(1.0, rank + _SLACK * above + few)
    return np.float32(of_scores.get_quantile(least)), np.float32(of_scores.get_quantile(greatest))


class Between(NamedTuple):
    """Scores: how many are above a bracket and how many below it, and those `[b]` within it."""

    above: int
    below: int
    within: np.ndarray


def between(scores: np.ndarray, bracket: tuple[np.float32, np.float32]) -> Between:
    """Looks at scores `[p]` with a bracket, both ends of which are in it."""
    least, greatest = bracket
    above, below = scores > greatest, scores < least
    return Between(int(above.sum()), int(below.sum()), scores[~above & ~below])


def join(parts: Iterable[Between]) -> Between:
    """Joins those of several chunks."""
    above, below, within = zip(Between(0, 0, np.empty(0, np.float32)), *parts, strict=True)
    return Between(sum(above), sum(below), np.concatenate(within))


def threshold(found: Between, most: int, floor: np.float32) -> np.float32:
    """The least score above which there are at most `most`; `floor` if there are no more above that.

    Raises:
      UserError: it is not in the bracket: the sketch was off by more than it should ever be.
    """
    place = most - found.above
    if found.above + found.below + len(found.within) <= most:
        return floor
    if not 0 <= place < len(found.within):
        raise UserError(
            f"the threshold for {most:,} postings is not among the {len(found.within):,} scores that the sketch of all"
            " scores gave; build again, or give --postings_per_code or --threshold"
        )
    return np.sort(found.within)[::-1][place]
