"""`python -m serving.export`: joins an exported model and its index into one servable."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from protos.artifact import MANIFEST, new_artifact, read_manifest, require_same_model, write_manifest
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from protos.query_inputs import query_inputs
from protos.servable import EXTRA, SERVABLE_FORMAT
from serving.catalogue import ITEMS_FILE, Catalogue, read_item_ids
from serving.categories import (
    DEFAULT_COLUMN,
    Categories,
    ItemCategories,
    category_column,
    no_categories,
    read_categories,
)
from serving.index import Index, read_index
from serving.inputs import WIDTHS, describe_inputs
from serving.lists import PostingLists
from serving.ops import require_stock_ops
from serving.query import QueryModel
from serving.retrieval import AnswerOptions, Retrieval
from serving.samples import Samples
from serving.scorer import Scorer
from serving.shards import Shard, shard_index
from serving.sums import CompletedSums, RescoredSums, SparseSums, Sums
from serving.warmup import write_warmup

MODEL_FORMAT = "sparcode.export/2"
# The newest released TensorFlow Serving; it does not load what a newer TensorFlow saved.
NEWEST_SERVER = (2, 20)


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """What to export.

    Attributes:
      model: directory of the exported model, `run/export`.
      index: directory of an index built from that model.
      output: version directory to write; its name is the version, a positive integer.
      sums: "sparse", "completed" or "rescored", see `serving.sums`.
      answers: k, and whether items of the history may be returned.
      category_column: of the catalogue, to choose items by; "" is none, None is genres where there are.
      overwrite: whether an existing version may be replaced.
      shard: the items to export; all of them, if not told otherwise.
    """

    model: pathlib.Path
    index: pathlib.Path
    output: pathlib.Path
    sums: Literal["sparse", "completed", "rescored"] = "completed"
    answers: AnswerOptions = dataclasses.field(default_factory=AnswerOptions)
    category_column: str | None = None
    overwrite: bool = False
    shard: Shard = dataclasses.field(default_factory=Shard)


def export(options: ExportOptions) -> dict[str, Any]:
    """Writes the servable and returns its manifest.

    Raises:
      UserError: the options, the model or the index do not allow it; nothing is written then.
    """
    _check_options(options)
    model = read_manifest(options.model, MODEL_FORMAT)
    index = read_index(options.index, with_block=options.sums == "completed")
    require_same_model(index.manifest, model, str(options.index), str(options.model))
    _check_index(options, index)
    parts = _read_parts(options, model, index)
    with new_artifact(options.output) as building:
        _save_model(building, options, parts)
        return _write_extra(building, options, parts)


class _Parts(NamedTuple):
    """What a servable is made of; `model` is the export's manifest."""

    model: Mapping[str, Any]
    index: Index
    query_model: QueryModel
    item_ids: Sequence[str]
    category_column: str | None
    categories: ItemCategories


def _read_parts(options: ExportOptions, model: Mapping[str, Any], index: Index) -> _Parts:
    items, num_items = options.model / ITEMS_FILE, model["model"]["num_items"]
    column = category_column(items, options.category_column)
    return _Parts(
        model,
        shard_index(index, options.shard, num_items),
        QueryModel(options.model / "query", model["model"]),
        read_item_ids(items, num_items),
        column,
        read_categories(items, column) if column else no_categories(num_items),
    )


def _check_options(options: ExportOptions) -> None:
    name = options.output.name
    if not name.isascii() or not name.isdecimal() or name.startswith("0"):
        raise UserError(
            f"--output {options.output}: the last part is the version and must be a positive integer, found"
            f" {name!r}; TensorFlow Serving ignores other directories; for example {options.output.parent / '1'}"
        )
    if options.output.exists() and not options.overwrite:
        raise UserError(f"--output {options.output} exists; choose the next version, or replace it by --overwrite")
    if options.answers.default_k < 1:
        raise UserError(f"--default_k is {options.answers.default_k}; at least 1 item must be returned")
    if options.answers.max_k < options.answers.default_k:
        raise UserError(
            f"--max_k is {options.answers.max_k}, less than --default_k {options.answers.default_k}: it must be as many"
            " at least"
        )
    _check_tensorflow(tf.__version__)


def _check_tensorflow(version: str) -> None:
    if tuple(int(part) for part in version.split(".")[:2]) > NEWEST_SERVER:
        server = ".".join(map(str, NEWEST_SERVER))
        raise UserError(
            f"TensorFlow is {version}, but the newest TensorFlow Serving is {server}, which does not load what a newer"
            f" TensorFlow saves; install tensorflow=={server}.*"
        )


def _check_index(options: ExportOptions, index: Index) -> None:
    if not index.num_scored:
        raise UserError(
            f"index {options.index} has no postings of codes: no item scores above 0 for any code; train the model"
            " longer, export it and build the index again"
        )
    if options.sums == "completed" and index.block is None:
        raise UserError(
            f"--sums completed needs the completion block, which index {options.index} does not have; build the index"
            " without --no_block, or export with --sums sparse or rescored"
        )


def _save_model(building: pathlib.Path, options: ExportOptions, parts: _Parts) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        retrieval = Retrieval(
            query_model=parts.query_model,
            lists=PostingLists(parts.index),
            sums=_sums(options, parts.index),
            catalogue=Catalogue(parts.item_ids, pathlib.Path(scratch) / "served_item_ids.txt"),
            categories=Categories(parts.categories, pathlib.Path(scratch) / "served_categories.txt"),
            options=options.answers,
        )
        tf.saved_model.save(retrieval, str(building), retrieval.signatures())
    require_stock_ops(building)


def _sums(options: ExportOptions, index: Index) -> Sums:
    if options.sums == "sparse":
        return SparseSums()
    if options.sums == "completed":
        return CompletedSums(index.block)
    return RescoredSums(Scorer(options.model / "scorer"))


def _write_extra(building: pathlib.Path, options: ExportOptions, parts: _Parts) -> dict[str, Any]:
    extra = building / EXTRA
    extra.mkdir()
    model, index = parts.model["model"], parts.index
    samples = Samples(options.model / "queries.parquet", query_inputs(model), model["max_history"])
    write_warmup(extra, samples, options.answers.default_k, parts.categories.names)
    manifest = write_manifest(
        building,
        SERVABLE_FORMAT,
        model_fingerprint=parts.model["fingerprint"],
        index_fingerprint=index.manifest["fingerprint"],
        model=model,
        sums=options.sums,
        **dataclasses.asdict(options.answers),
        category_column=parts.category_column,
        categories=len(parts.categories.names),
        signatures=describe_inputs(parts.query_model.features),
        widths=samples.widths() | WIDTHS,
        lists=index.num_scored,
        ready_lists=len(index.keys) - index.num_scored,
        postings=len(index.items),
        items=model["num_items"],
        shard=options.shard.describe(model["num_items"]),
        versions={"tensorflow": tf.__version__, "index": index.manifest["versions"], "model": parts.model["versions"]},
    )
    # Beside the warmup file, where TensorFlow Serving expects what is not its own; it covers the whole version.
    (building / MANIFEST).rename(extra / MANIFEST)
    return manifest


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m serving.export",
        description="Joins an exported model and an index built from it into one servable: a SavedModel of stock"
        " TensorFlow ops, with a warmup file, that TensorFlow Serving loads as it is.",
        epilog="example: python -m serving.export --model run/export --index index --output servable/1",
    )
    parser.add_argument("--model", type=pathlib.Path, required=True, help="exported model, run/export")
    parser.add_argument("--index", type=pathlib.Path, required=True, help="index built by beam_index.build")
    parser.add_argument(
        "--output", type=pathlib.Path, required=True, help="version directory to write, its name a number: servable/1"
    )
    parser.add_argument(
        "--sums",
        choices=["sparse", "completed", "rescored"],
        default="completed",
        help="how an item's score is made: 'sparse' adds up its postings in the lists of the query (small, fast);"
        " 'completed' adds what every token of the query contributes, from the index's 8-bit block (more accurate,"
        " takes codes x items bytes of memory); 'rescored' runs the model's scorer on every item of the lists (exact,"
        " slowest, needs no block); all three add the lists of the history's events; default: %(default)s",
    )
    parser.add_argument(
        "--default_k", type=int, default=100, help="items returned where a query names no k; default: %(default)s"
    )
    parser.add_argument(
        "--max_k", type=int, default=1000, help="items returned whatever k a query names, at most; default: %(default)s"
    )
    parser.add_argument(
        "--keep_seen",
        action="store_true",
        help="also return items of the query's own history, where a query does not say include_seen",
    )
    parser.add_argument(
        "--category_column",
        help="column of the model's items.parquet, of strings or lists of strings, by which queries may allow and deny"
        f" items; '' is none; default: {DEFAULT_COLUMN}, where there is one",
    )
    parser.add_argument(
        "--shard",
        type=Shard.parse,
        default=Shard(),
        metavar="NUMBER/COUNT",
        help="export only a range of the items, for example 0/4, the first quarter; all shards of an index, asked"
        " together by serving.client.ShardedClient, answer as one servable of all items does; default: %(default)s",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the version if it exists")
    return parser


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    arguments = vars(_parser().parse_args(argv))
    answers = AnswerOptions(*(arguments.pop(field.name) for field in dataclasses.fields(AnswerOptions)))
    options = ExportOptions(**arguments, answers=answers)
    manifest = export(options)
    shard = f"shard {options.shard} of " if options.shard.count > 1 else ""
    print(
        f"{options.output}: {shard}{manifest['items']} items, {manifest['lists']} lists,"
        f" {manifest['ready_lists']} ready lists, {manifest['postings']} postings,"
        f" {options.sums} sums, the best {answers.default_k} for a query"
    )


if __name__ == "__main__":
    run_cli(main)
