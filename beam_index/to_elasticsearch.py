"""`python -m beam_index.to_elasticsearch`: an index as documents of Elasticsearch or OpenSearch."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc

from beam_index.files import MAX_SHARDS
from beam_index.pair import ITEMS_CURE, Pair, open_pair, pair_parser, read_item_ids
from beam_index.parquet import open_parquet
from beam_index.reader import posting_lists
from beam_index.search_engine.by_item import ByItem, by_item
from beam_index.search_engine.documents import Writing, write_documents
from beam_index.search_engine.fields import CODES, ROW, chosen_columns, mapping
from beam_index.search_engine.query import QUERY_FILE, SCALES_FILE, template
from protos.artifact import MANIFEST, new_artifact, write_manifest
from protos.errors import UserError, run_cli

ENGINE_FORMAT = "sparcode.search-engine/1"
MAPPING_FILE = "mapping.json"

_DESCRIPTION = """\
Writes an index as what a search engine needs to give the same recommendations: its items as lines
of the bulk API, each with its codes and their scores in 8 bits; the mapping of the engine's index;
the template of a query, and the scales of the lists, which go into the boosts of a query.
"""
_EPILOG = """\
files of OUTPUT:
  items-*.ndjson   POST INDEX/_bulk (an engine takes 100 MB at once: use --num_shards)
  mapping.json     PUT INDEX
  query.json       POST INDEX/_search, filled in by python -m beam_index.fill_query
  scales.json      list key -> scale

example:
  python -m beam_index.to_elasticsearch --model run/export --index index --output engine --columns genres
"""


@dataclasses.dataclass(frozen=True)
class EngineOptions:
    """See --help.

    Attributes:
      model: directory of the exported model.
      index: directory of its index.
      output: directory to write.
      columns: of the catalogue that become fields; None: all.
      writing: how documents are spread over files.
    """

    model: pathlib.Path
    index: pathlib.Path
    output: pathlib.Path
    columns: Sequence[str] | None = None
    writing: Writing = dataclasses.field(default_factory=Writing)

    def __post_init__(self) -> None:
        _require_shards(self.writing.num_shards, MAX_SHARDS)


def export(options: EngineOptions) -> dict[str, Any]:
    """Writes the documents, mapping, query and scales, and returns their manifest.

    Raises:
      UserError: model and index do not belong together or are damaged; the catalogue or the output
        directory will not do. Nothing is written then.
    """
    pair = open_pair(options.model, options.index)
    _require_shards(options.writing.num_shards, pair.num_items)  # no file is empty: an engine takes no empty request
    _require_replaceable(options.output)
    _require_distinct_ids(pair)
    with open_parquet(pair.items, f"catalogue {pair.items}", ITEMS_CURE) as catalogue:
        columns = chosen_columns(catalogue.schema_arrow, options.columns, pair.items)
        fields = mapping(catalogue.schema_arrow, columns)
        fingerprint = pair.manifest["model_fingerprint"]
        postings = by_item(posting_lists(pair.index), pair.num_items)
        with new_artifact(options.output) as directory:
            write_documents(directory, catalogue, columns, postings, options.writing)
            _write_json(directory / MAPPING_FILE, fields)
            _write_json(directory / QUERY_FILE, template(CODES, ROW, pair.space, fingerprint))
            _write_scales(directory / SCALES_FILE, postings)
            return write_manifest(
                directory,
                ENGINE_FORMAT,
                index_fingerprint=pair.manifest["fingerprint"],
                model_fingerprint=fingerprint,
                items=pair.num_items,
                lists=len(postings.keys),
                postings=len(postings.levels),
            )


def _require_shards(num_shards: int, most: int) -> None:
    if not 1 <= num_shards <= most:
        raise UserError(f"--num_shards is {num_shards:,}; expected 1 to {most:,}")


def _require_replaceable(output: pathlib.Path) -> None:
    """The output is replaced as a whole, so nothing but an earlier export may stand there."""
    manifest, kind = output / MANIFEST, ENGINE_FORMAT.partition("/")[0]
    ours = manifest.is_file() and f'"{kind}/' in manifest.read_text()
    if output.exists() and not ours and not (output.is_dir() and not any(output.iterdir())):
        raise UserError(f"--output {output} exists and is no export of this kind; give another directory, or remove it")


def _require_distinct_ids(pair: Pair) -> None:
    """Of two documents of one id the engine keeps the last."""
    counts = pc.value_counts(read_item_ids(pair).combine_chunks())
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        item_id = repeated.field("values")[0].as_py()
        raise UserError(f"{pair.items} has the item id {item_id!r} more than once; {ITEMS_CURE} with distinct ids")


def _write_json(path: pathlib.Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_scales(path: pathlib.Path, postings: ByItem) -> None:
    """One line a list. A float32 as the float64 of the same value, which any reader of JSON restores."""
    pairs = zip(postings.keys.tolist(), postings.scales.tolist(), strict=True)
    path.write_text("{\n" + ",\n".join(f'"{key}": {scale!r}' for key, scale in pairs) + "\n}\n", encoding="utf-8")


def _parse(argv: Sequence[str]) -> EngineOptions:
    parser = pair_parser("python -m beam_index.to_elasticsearch", _DESCRIPTION, _EPILOG)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="directory to write")
    parser.add_argument(
        "--columns",
        type=lambda text: [name for name in text.split(",") if name],
        metavar="NAME,...",
        help="columns of the catalogue that become fields (default: all)",
    )
    parser.add_argument(
        "--num_shards", type=int, default=1, metavar="N", help="files of documents (default %(default)s)"
    )
    parser.add_argument("--gzip", action="store_true", help="compress the documents (Content-Encoding: gzip)")
    known = parser.parse_args(argv)
    return EngineOptions(known.model, known.index, known.output, known.columns, Writing(known.num_shards, known.gzip))


def main(argv: Sequence[str]) -> None:
    """Exports an index and prints what was written."""
    options = _parse(argv)
    manifest = export(options)
    size = sum(file["bytes"] for file in manifest["files"].values())
    print(
        f"{options.output}: {manifest['items']:,} items, {manifest['lists']:,} lists,"
        f" {manifest['postings']:,} postings, {size:,} bytes"
    )


if __name__ == "__main__":
    run_cli(main)
