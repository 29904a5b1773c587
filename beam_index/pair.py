"""A model and the index built from it, opened together by the commands that turn an index into something else."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from beam_index.manifest import INDEX_FORMAT
from beam_index.parquet import open_parquet
from beam_index.plan import EXPORT_FORMAT
from protos.artifact import read_manifest, require_same_model
from protos.codes import CodeSpace
from protos.command_line import CommandParser
from protos.errors import UserError

ITEMS_CURE = "export the model again"


class Pair(NamedTuple):
    """An exported model and its index.

    Attributes:
      model: directory of the export.
      index: directory of the index.
      manifest: of the index.
    """

    model: pathlib.Path
    index: pathlib.Path
    manifest: Mapping[str, Any]

    @property
    def num_items(self) -> int:
        """Items of the catalogue."""
        return self.manifest["items"]

    @property
    def space(self) -> CodeSpace:
        """The model's codes; keys from `space.size` on are of ready lists."""
        model = self.manifest["model"]
        return CodeSpace(model["num_slots"], model["num_codebooks"], model["num_codewords"])

    @property
    def items(self) -> pathlib.Path:
        """The catalogue, row by row."""
        return self.model / "items.parquet"


def pair_parser(prog: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser that takes --model and --index, and shows its texts as they are written."""
    parser = CommandParser(
        prog=prog,
        description=description,
        epilog=epilog,
    )
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the exported model, run/export")
    parser.add_argument("--index", type=pathlib.Path, required=True, help="the index built from it")
    return parser


def open_pair(model: pathlib.Path, index: pathlib.Path) -> Pair:
    """Checks both artifacts, file by file, and that one was made from the other.

    Raises:
      UserError: one of them is incomplete or damaged, or they do not belong together.
    """
    export, manifest = read_manifest(model, EXPORT_FORMAT), read_manifest(index, INDEX_FORMAT)
    require_same_model(manifest, export, str(index), str(model))
    return Pair(model, index, manifest)


def read_item_ids(pair: Pair) -> pa.ChunkedArray:
    """Public item ids, `[I]` strings, row by row.

    Raises:
      UserError: there are more or fewer of them than the index has items.
    """
    with open_parquet(pair.items, f"catalogue {pair.items}", ITEMS_CURE) as file:
        ids = file.read(columns=["item_id"])["item_id"]
    if len(ids) != pair.num_items:
        raise UserError(
            f"catalogue {pair.items} has {len(ids)} items, the index {pair.index} {pair.num_items}; {ITEMS_CURE}"
        )
    # Offsets of 64 bits: the ids of a large catalogue, taken for many postings, pass 2 GiB.
    return ids.cast(pa.large_string())
