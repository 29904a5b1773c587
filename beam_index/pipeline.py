"""The build as a Beam pipeline.

    codes -> work (chunk of codes x span of items) -> best ranks of a span, merged by chunk -> posting lists
                                        \\-> files of the completion block
    ready lists of the export --------------------------------------------------------------> posting lists

A tile's scores are made once, used for both, and never leave the worker: what flows on is the best of
each code. The block does not flow at all: who has scored a span writes its file. Nor do ready lists: who
writes a file of posting lists reads its share of them. A pruned build and an update differ in how the
ranks of a chunk are made (pruning.py, delta.py), in nothing after that.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton, PCollection
from apache_beam.utils.shared import Shared

from beam_index.block_files import write_block
from beam_index.codes import Codes
from beam_index.counters import CODES_SCORED, COUNTERS, PAIRS_SCORED, POSTINGS_WRITTEN
from beam_index.delta import Updater
from beam_index.files import lost_records, shard_name, write_records
from beam_index.geometry import (
    Span,
    chunk_count,
    chunk_span,
    cut_by_shard,
    items_of,
    shard_span,
    span_count,
    tiles_of,
)
from beam_index.limits import require_block_fits
from beam_index.plan import Plan
from beam_index.postings import BestRanks, Merged, posting_list
from beam_index.progress import Journal
from beam_index.pruning import Pruner
from beam_index.ranks import write_ranks
from beam_index.ready_lists import ready_lists
from beam_index.threshold import BudgetFloor
from beam_index.tiles import TileScorer
from protos.postings import Postings, encode


class Work(NamedTuple):
    """One piece of work, by numbers: a chunk of codes and a span of items; a pruned build or an update has one span."""

    chunk: int
    span: int


class RankedCodes(NamedTuple):
    """Consecutive codes of one file of posting lists.

    Attributes:
      first: position of the first among all codes.
      keys: `[n]` int64, ascending.
      ranks: `[n, <= L + 1]` uint64, each row ascending.
    """

    first: int
    keys: np.ndarray
    ranks: np.ndarray


def build(pipeline: beam.Pipeline, plan: Plan) -> None:
    """Adds the whole build to a pipeline; run, it writes the shards of the index into `plan.directory`."""
    # [C] int64, ascending; one element
    keys = pipeline | "Codes" >> Codes(plan)
    best = (
        keys
        # Work
        | "CutWork" >> beam.FlatMap(cut_work, plan)
        | "SpreadWork" >> beam.Reshuffle()
        # (chunk, [n, <= depth] uint64)
        | "Score" >> beam.ParDo(Score(plan), AsSingleton(keys))
        # (chunk, Merged): the best of all spans
        | "Best" >> beam.CombinePerKey(BestRanks(plan.depth))
        | "Whole" >> beam.Map(require_whole, plan)
    )
    _ = (best, keys) | "PostingLists" >> WritePostingLists(plan)
    if plan.updatable:
        _ = best | "Ranks" >> beam.Map(write_ranks, plan, AsSingleton(keys))


def cut_work(keys: np.ndarray, plan: Plan) -> Iterator[Work]:
    """All pieces of work for `keys [C]`."""
    chunks, spans = chunk_count(len(keys)), spans_of_work(plan)
    if plan.block:
        require_block_fits(chunks, span_count(plan.num_items))
    Metrics.counter(COUNTERS, CODES_SCORED).inc(len(keys))
    Journal(plan.journal).planned(chunks * spans)
    for chunk, span in itertools.product(range(chunks), range(spans)):
        yield Work(chunk, span)


def spans_of_work(plan: Plan) -> int:
    """Pieces of work of a chunk of codes."""
    return span_count(plan.num_items) if plan.is_exhaustive else 1


class Score(beam.DoFn):
    """Work to the best ranks of its codes; writes its files of the block, if there is to be one."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shared = Shared()

    def setup(self) -> None:
        """Loads the scorer, once a process."""
        self._worker = self._shared.acquire(lambda: _worker(self._plan))
        self._journal = Journal(self._plan.journal)

    def process(self, work: Work, keys: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Does one piece; `keys [C]` are the keys of all codes."""
        codes = chunk_span(work.chunk, len(keys))
        ranks, pairs = self._worker.ranks(work.chunk, work.span, keys[codes.start : codes.stop], len(keys))
        Metrics.counter(COUNTERS, PAIRS_SCORED).inc(pairs)
        yield work.chunk, ranks
        self._journal.done()


class Exhaustive:
    """Scores all pairs."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._tiles = plan, TileScorer(plan)

    def ranks(self, chunk: int, span: int, keys: np.ndarray, num_codes: int) -> tuple[np.ndarray, int]:
        """The best ranks `[n, <= depth]` of a chunk's codes, `keys [n]`, in a span, and how many pairs were scored.

        Writes that span's block, if there is to be one.
        """
        tiles = tiles_of(span, self._plan.num_items)
        ranks, blocks = self._tiles.score(keys, tiles)
        if self._plan.block:
            write_block(self._plan, chunk, span, num_codes, dict(zip(tiles, blocks, strict=True)))
        return ranks, len(keys) * items_of(tiles, self._plan.num_items)


def _worker(plan: Plan) -> Exhaustive | Pruner | Updater:
    if plan.base is not None:
        return Updater(plan)
    return Exhaustive(plan) if plan.candidates is None else Pruner(plan)


def require_whole(of_chunk: tuple[int, Merged], plan: Plan) -> tuple[int, np.ndarray]:
    """(chunk, its ranks `[n, <= depth]`).

    Raises:
      UserError: the runner lost a span on the way here.
    """
    chunk, merged = of_chunk
    expected = spans_of_work(plan)
    if merged.spans != expected:
        raise lost_records(
            f"chunk {chunk} of the codes has scores of {merged.spans} spans of items, expected {expected}"
        )
    return chunk, merged.ranks


class WritePostingLists(beam.PTransform):
    """(ranks by chunk of codes, keys) to the files of posting lists."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, inputs: tuple[PCollection, PCollection]) -> PCollection:
        """See the class."""
        plan = self._plan
        ranks, keys = inputs
        # (shard, None): every shard is written, also one that no list falls into
        shards = keys.pipeline | "Shards" >> beam.Create([(shard, None) for shard in range(plan.num_shards)])
        # float32: what a score must be above
        floor = ranks | "Floor" >> BudgetFloor(plan)
        # (shard, RankedCodes)
        cut = ranks | "CutByShard" >> beam.FlatMap(cut_ranks, plan, AsSingleton(keys))
        return (
            (cut, shards)
            | "WithAllShards" >> beam.Flatten()
            | "ByShard" >> beam.GroupByKey()
            # file name
            | "Write" >> beam.Map(write_posting_shard, plan, AsSingleton(keys), AsSingleton(floor))
        )


def cut_ranks(of_chunk: tuple[int, np.ndarray], plan: Plan, keys: np.ndarray) -> Iterator[tuple[int, RankedCodes]]:
    """The ranks of a chunk, cut by the files that its lists go into."""
    chunk, ranks = of_chunk
    codes = chunk_span(chunk, len(keys))
    for shard, part in cut_by_shard(codes, plan.num_shards, len(keys) + plan.num_ready_lists):
        rows = slice(part.start - codes.start, part.stop - codes.start)
        yield shard, RankedCodes(part.start, keys[part.start : part.stop], ranks[rows, : plan.postings_per_code + 1])


def write_posting_shard(
    of_shard: tuple[int, Iterable[RankedCodes | None]], plan: Plan, keys: np.ndarray, floor: np.float32
) -> str:
    """Writes one file of posting lists, ascending by key, and returns its name.

    All lists, those of codes `keys [C]` and then the ready ones, are spread over the files evenly.
    """
    shard, parts = of_shard
    here = shard_span(shard, plan.num_shards, len(keys) + plan.num_ready_lists)
    ready = Span(max(here.start - len(keys), 0), max(here.stop - len(keys), 0))
    of_codes = _code_lists(filter(None, parts), plan, floor)
    lists = itertools.chain(of_codes, ready_lists(plan.model, ready, plan.floor, plan.removed, plan.bad_lists))
    name = shard_name("postings", shard, plan.num_shards)
    write_records(plan.path(name), _counted(lists, plan.score_bits))
    return name


def _code_lists(parts: Iterable[RankedCodes], plan: Plan, floor: np.float32) -> Iterator[Postings]:
    for part in sorted(parts, key=lambda part: part.first):
        for key, ranks in zip(part.keys, part.ranks, strict=True):
            yield posting_list(int(key), ranks, plan.postings_per_code, floor)


def _counted(lists: Iterable[Postings], bits: int) -> Iterator[bytes]:
    written = Metrics.counter(COUNTERS, POSTINGS_WRITTEN)
    for each in lists:
        written.inc(len(each.items))
        yield encode(each, bits).SerializeToString()
