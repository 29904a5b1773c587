"""Counts what was written, by reading it back, and writes the manifest: the last step of a build."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np

from beam_index.block import BITS
from beam_index.block_files import MAX_OVERHEAD, block_file
from beam_index.files import lost_records
from beam_index.geometry import TILE_ITEMS, chunk_count, chunk_span, span_count, tile_span, tiles_of
from beam_index.plan import Plan
from beam_index.reader import posting_lists
from protos.artifact import write_manifest

INDEX_FORMAT = "sparcode.index/3"


@dataclasses.dataclass(frozen=True)
class Counts:
    """What the files of an index hold.

    Attributes:
      codes: lists of codes, empty ones included.
      ready_lists: lists that the export brought along.
      postings: of all lists.
      empty_lists: codes that no item scores above the floor with.
      items_in_no_list: of both kinds: items that lists alone can never recommend.
    """

    codes: int
    ready_lists: int
    postings: int
    empty_lists: int
    items_in_no_list: int


def count(plan: Plan) -> Counts:
    """Reads the index at `plan.directory` and counts.

    Raises:
      UserError: the files do not hold all ready lists, or a file of the block is missing or damaged; a file
        of lists is damaged or contradicts its format.
    """
    listed = np.zeros(plan.num_items, bool)
    codes = ready = postings = empty = 0
    for found in posting_lists(plan.directory):
        of_code = found.key < plan.space.size
        codes += of_code
        ready += not of_code
        postings += len(found.items)
        empty += of_code and not len(found.items)
        listed[found.items] = True
    if ready != plan.num_ready_lists:
        raise lost_records(f"the files hold {ready} ready lists, expected {plan.num_ready_lists}")
    if plan.block:
        _check_block(plan, codes)
    return Counts(codes, ready, postings, empty, int((~listed).sum()) - len(plan.removed))


def _check_block(plan: Plan, num_codes: int) -> None:
    """Sizes tell: a file holds two floats a code and tile, a byte a pair, and little beside."""
    for chunk, span in itertools.product(range(chunk_count(num_codes)), range(span_count(plan.num_items))):
        path = plan.path(block_file(chunk, span, num_codes, plan.num_items))
        tiles = [tile_span(tile, plan.num_items).width for tile in tiles_of(span, plan.num_items)]
        least = chunk_span(chunk, num_codes).width * sum(8 + width for width in tiles)
        found = path.stat().st_size if path.exists() else 0
        if not least <= found <= least + MAX_OVERHEAD * len(tiles):
            raise lost_records(f"{path.name} of the block has {found:,} bytes, expected {least:,} and little more")


def write_index_manifest(
    plan: Plan,
    export: Mapping[str, Any],
    counts: Counts,
    records: Mapping[str, Any],
    budget: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Writes `manifest.json` into `plan.directory`.

    Args:
      plan: of the build.
      export: manifest of the exported model.
      counts: of what was written.
      records: of each kind, how many came in, were used, and were bad.
      budget: what was chosen within --max_bytes, if that was given.
    """
    return write_manifest(
        pathlib.Path(plan.directory),
        INDEX_FORMAT,
        model_fingerprint=export["fingerprint"],
        model=export["model"],
        items=plan.num_items,
        codes=counts.codes,
        ready_lists=counts.ready_lists,
        postings=counts.postings,
        counts=dataclasses.asdict(counts) | {"records": dict(records)},
        block={"bits": BITS, "tile_items": TILE_ITEMS} if plan.block else None,
        options={
            "postings_per_code": plan.postings_per_code,
            "max_code_postings": plan.max_code_postings,
            "threshold": plan.threshold,
            "score_bits": plan.score_bits,
            "candidates": plan.candidates,
            "codes": "all" if plan.queries is None else "observed",
            "num_shards": plan.num_shards,
        },
        budget=budget,
        tiles=plan.digests if plan.updatable else None,
        versions={
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("tensorflow", "apache-beam", "numpy")},
        },
    )
