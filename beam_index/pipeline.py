"""The build as a Beam pipeline.

    codes -> work (chunk of codes x tile of items) -> scores of a tile -> ranks, combined by chunk -> posting lists
                                                                       -> 8-bit part of the completion block
    ready lists of the export ------------------------------------------------------------------> posting lists

A tile's scores are made once, used for both, and never leave the worker: what flows on is the best
of each code and, if there is a block, one byte a pair. Ready lists do not flow at all: who writes a
file of posting lists reads its share of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from apache_beam.metrics import Metrics
from apache_beam.pvalue import AsSingleton, PCollection, TaggedOutput
from apache_beam.utils.shared import Shared

from beam_index.block import TilePart, block_tile, quantize, require_block_fits
from beam_index.codes import Codes
from beam_index.files import lost_records, shard_name, write_records
from beam_index.geometry import Span, chunk_count, chunk_span, cut_by_shard, shard_of, shard_span, tile_span
from beam_index.plan import Plan
from beam_index.postings import BestRanks, Merged, best_ranks, posting_list, to_ranks
from beam_index.progress import Journal
from beam_index.ready_lists import ready_lists
from beam_index.scoring import Scorer
from protos.index_pb2 import PostingList

COUNTERS = "beam_index"
CODES_SCORED = "codes_scored"
POSTINGS_WRITTEN = "postings_written"
_BLOCK = "block"


class Work(NamedTuple):
    """One piece of work, by numbers: a chunk of codes and a tile of items."""

    chunk: int
    tile: int


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
    scored = (
        keys
        # Work
        | "CutWork" >> beam.FlatMap(cut_work, plan)
        | "SpreadWork" >> beam.Reshuffle()
        # (chunk, [n, <= L + 1] uint64); the block's parts: (shard, TilePart)
        | "ScoreTile" >> beam.ParDo(ScoreTile(plan), AsSingleton(keys)).with_outputs(_BLOCK, main="ranks")
    )
    _ = (scored.ranks, keys) | "PostingLists" >> WritePostingLists(plan)
    if plan.block:
        _ = scored[_BLOCK] | "Block" >> WriteBlock(plan)


def cut_work(keys: np.ndarray, plan: Plan) -> Iterator[Work]:
    """All pieces of work for `keys [C]`."""
    if plan.block:
        require_block_fits(len(keys))
    chunks = chunk_count(len(keys))
    Metrics.counter(COUNTERS, CODES_SCORED).inc(len(keys))
    Journal(plan.journal).planned(chunks * plan.num_tiles)
    for chunk, tile in itertools.product(range(chunks), range(plan.num_tiles)):
        yield Work(chunk, tile)


class ScoreTile(beam.DoFn):
    """Work to the best ranks of its codes and, tagged, to its part of the block."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._shared = Shared()

    def setup(self) -> None:
        """Loads the scorer, once a process."""
        self._scorer = self._shared.acquire(lambda: Scorer(self._plan))
        self._journal = Journal(self._plan.journal)

    def process(self, work: Work, keys: np.ndarray) -> Iterator[tuple[int, np.ndarray] | TaggedOutput]:
        """Scores one tile; `keys [C]` are the keys of all codes."""
        plan = self._plan
        codes, items = chunk_span(work.chunk, len(keys)), tile_span(work.tile, plan.num_items)
        scores = self._scorer.score(keys[codes.start : codes.stop], items)
        ranks = to_ranks(scores, items.start, plan.floor)
        yield work.chunk, best_ranks([ranks], plan.postings_per_code + 1)
        if plan.block:
            shard = shard_of(work.tile, plan.num_block_shards, plan.num_tiles)
            part = quantize(work.tile, work.chunk, scores, np.float32(plan.bias))
            yield TaggedOutput(_BLOCK, (shard, part))
        self._journal.done()


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
        cut = (
            ranks
            # (chunk, Merged): the best of all tiles
            | "Best" >> beam.CombinePerKey(BestRanks(plan.postings_per_code + 1))
            # (shard, RankedCodes)
            | "CutByShard" >> beam.FlatMap(cut_ranks, plan, AsSingleton(keys))
        )
        return (
            (cut, shards)
            | "WithAllShards" >> beam.Flatten()
            | "ByShard" >> beam.GroupByKey()
            # file name
            | "Write" >> beam.Map(write_posting_shard, plan, AsSingleton(keys))
        )


def cut_ranks(of_chunk: tuple[int, Merged], plan: Plan, keys: np.ndarray) -> Iterator[tuple[int, RankedCodes]]:
    """The ranks of a chunk, cut by the files that its lists go into.

    Raises:
      UserError: the runner lost a tile on the way here.
    """
    chunk, merged = of_chunk
    codes = chunk_span(chunk, len(keys))
    if merged.tiles != plan.num_tiles:
        raise lost_records(
            f"codes {codes.start} to {codes.stop - 1} have scores of {merged.tiles} tiles of items,"
            f" expected {plan.num_tiles}"
        )
    for shard, part in cut_by_shard(codes, plan.num_shards, len(keys) + plan.num_ready_lists):
        rows = slice(part.start - codes.start, part.stop - codes.start)
        yield shard, RankedCodes(part.start, keys[part.start : part.stop], merged.ranks[rows])


def write_posting_shard(of_shard: tuple[int, Iterable[RankedCodes | None]], plan: Plan, keys: np.ndarray) -> str:
    """Writes one file of posting lists, ascending by key, and returns its name.

    All lists, those of codes `keys [C]` and then the ready ones, are spread over the files evenly.
    """
    shard, parts = of_shard
    here = shard_span(shard, plan.num_shards, len(keys) + plan.num_ready_lists)
    ready = Span(max(here.start - len(keys), 0), max(here.stop - len(keys), 0))
    lists = itertools.chain(_code_lists(filter(None, parts), plan), ready_lists(plan.model, ready, plan.floor))
    name = shard_name("postings", shard, plan.num_shards)
    write_records(plan.path(name), _counted(lists))
    return name


def _code_lists(parts: Iterable[RankedCodes], plan: Plan) -> Iterator[PostingList]:
    for part in sorted(parts, key=lambda part: part.first):
        for key, ranks in zip(part.keys, part.ranks, strict=True):
            yield posting_list(int(key), ranks, plan.postings_per_code, plan.floor)


def _counted(lists: Iterable[PostingList]) -> Iterator[bytes]:
    written = Metrics.counter(COUNTERS, POSTINGS_WRITTEN)
    for each in lists:
        written.inc(len(each.items))
        yield each.SerializeToString()


class WriteBlock(beam.PTransform):
    """(shard, TilePart) to the files of the completion block."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan

    def expand(self, parts: PCollection) -> PCollection:
        """See the class."""
        # (shard, TileParts) to file name
        return parts | "ByShard" >> beam.GroupByKey() | "Write" >> beam.Map(write_block_shard, self._plan)


def write_block_shard(of_shard: tuple[int, Iterable[TilePart]], plan: Plan) -> str:
    """Writes one file of the block, its tiles ascending by item, and returns its name."""
    shard, parts = of_shard
    ordered = sorted(parts, key=lambda part: (part.tile, part.chunk))
    tiles = itertools.groupby(ordered, key=lambda part: part.tile)
    messages = (block_tile(tile_span(tile, plan.num_items), list(of_tile)) for tile, of_tile in tiles)
    name = shard_name("block", shard, plan.num_block_shards)
    write_records(plan.path(name), (message.SerializeToString() for message in messages))
    return name
