"""Counts what was written, by reading it back, and writes the manifest: the last step of a build."""

from __future__ import annotations

import dataclasses
import pathlib
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np

from beam_index.block import BITS
from beam_index.files import lost_records
from beam_index.geometry import TILE_ITEMS
from beam_index.plan import Plan
from beam_index.reader import block_tiles, posting_lists
from protos.artifact import write_manifest

INDEX_FORMAT = "sparcode.index/2"


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
      UserError: the files do not hold all ready lists, or the block not all codes and items; a file is
        damaged or contradicts its format.
    """
    listed = np.zeros(plan.num_items, bool)
    codes = ready = postings = empty = 0
    for found in posting_lists(plan.directory):
        of_code = found.key < plan.space.size
        codes += of_code
        ready += not of_code
        postings += len(found.items)
        empty += of_code and not found.items
        listed[np.array(found.items, np.int64)] = True
    if ready != plan.num_ready_lists:
        raise lost_records(f"the files hold {ready} ready lists, expected {plan.num_ready_lists}")
    if plan.block:
        _check_block(plan, codes)
    return Counts(codes, ready, postings, empty, int((~listed).sum()))


def _check_block(plan: Plan, codes: int) -> None:
    shapes = [(len(tile.offset), tile.num_items) for tile in block_tiles(plan.directory)]
    items = sum(width for _, width in shapes)
    if items != plan.num_items or any(height != codes for height, _ in shapes):
        raise lost_records(
            f"the block holds {items} items and {sorted({h for h, _ in shapes})} codes a tile,"
            f" expected {plan.num_items} items and {codes} codes"
        )


def write_index_manifest(plan: Plan, export: Mapping[str, Any], counts: Counts) -> dict[str, Any]:
    """Writes `manifest.json` into `plan.directory`.

    Args:
      plan: of the build.
      export: manifest of the exported model.
      counts: of what was written.
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
        counts=dataclasses.asdict(counts),
        block={"bits": BITS, "tile_items": TILE_ITEMS} if plan.block else None,
        options={
            "postings_per_code": plan.postings_per_code,
            "codes": "all" if plan.queries is None else "observed",
            "num_shards": plan.num_shards,
        },
        versions={
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("tensorflow", "apache-beam", "numpy")},
        },
    )
