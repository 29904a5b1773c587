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

INDEX_FORMAT = "sparcode.index/1"


@dataclasses.dataclass(frozen=True)
class Counts:
    """What the files of an index hold.

    Attributes:
      codes: posting lists, empty ones included.
      postings: of all lists.
      empty_lists: codes that no item scores above the floor with.
      items_in_no_list: items that lists alone can never recommend.
    """

    codes: int
    postings: int
    empty_lists: int
    items_in_no_list: int


def count(plan: Plan) -> Counts:
    """Reads the index at `plan.directory` and counts.

    Raises:
      UserError: the block does not hold all codes and items; a file is damaged or contradicts its format.
    """
    listed = np.zeros(plan.num_items, bool)
    codes = postings = empty = 0
    for found in posting_lists(plan.directory):
        codes += 1
        postings += len(found.items)
        empty += not found.items
        listed[np.array(found.items, np.int64)] = True
    if plan.block:
        _check_block(plan, codes)
    return Counts(codes, postings, empty, int((~listed).sum()))


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
