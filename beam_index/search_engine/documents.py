"""Items as lines of the bulk API: what is done and with which id, then the document."""

from __future__ import annotations

import gzip
import io
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from beam_index.geometry import shard_span
from beam_index.search_engine.by_item import ByItem
from beam_index.search_engine.fields import CODES, ID_COLUMN, ROW, plain
from beam_index.search_engine.levels import LEVELS
from protos.errors import UserError

_BATCH_ITEMS = 4096
# Both engines refuse longer ids.
_ID_BYTES = 512


class Writing(NamedTuple):
    """How the documents are spread over files.

    Attributes:
      num_shards: files; each has about as many items.
      compress: whether they are gzipped.
    """

    num_shards: int = 1
    compress: bool = False

    def name(self, shard: int) -> str:
        """The name of a file."""
        return f"items-{shard:05d}-of-{self.num_shards:05d}.ndjson{'.gz' if self.compress else ''}"


def write_documents(
    directory: pathlib.Path, catalogue: pq.ParquetFile, columns: Sequence[str], postings: ByItem, writing: Writing
) -> None:
    """Writes all items, by row; holds one batch of them at a time.

    Args:
      directory: of the files.
      catalogue: row -> item id and other columns.
      columns: those that become fields.
      postings: of the catalogue's items.
      writing: to which files.

    Raises:
      UserError: an item's id cannot be a document's.
    """
    num_items = len(postings.offsets) - 1
    documents = _documents(catalogue, columns, postings)
    for shard in range(writing.num_shards):
        span = shard_span(shard, writing.num_shards, num_items)
        with _open(directory / writing.name(shard), writing.compress) as file:
            for _ in range(span.width):
                file.write(next(documents))


def _open(path: pathlib.Path, compress: bool) -> io.TextIOBase:
    """A text file whose bytes depend on its name and content alone: gzip would add the time."""
    if not compress:
        return path.open("w", encoding="utf-8", newline="\n")
    return io.TextIOWrapper(gzip.GzipFile(path, "wb", compresslevel=6, mtime=0), encoding="utf-8", newline="\n")


def _documents(catalogue: pq.ParquetFile, columns: Sequence[str], postings: ByItem) -> Iterator[str]:
    """The two lines of each item, by row."""
    # Text made once a list and once a level: an item's codes are then put together by look-ups alone.
    names = [f'"{key}":' for key in postings.keys.tolist()]
    levels = [str(level) for level in range(LEVELS + 1)]
    row = 0
    for batch in catalogue.iter_batches(_BATCH_ITEMS, columns=[ID_COLUMN, *columns]):
        for item in batch.to_pylist():
            item_id = _checked_id(item.pop(ID_COLUMN), row)
            here = slice(*postings.offsets[row : row + 2])
            pairs = zip(postings.lists[here].tolist(), postings.levels[here].tolist(), strict=True)
            codes = ",".join([names[of_list] + levels[level] for of_list, level in pairs])
            fields = _json({ROW: row, **{name: plain(item[name]) for name in columns}})
            yield f'{_json({"index": {"_id": item_id}})}\n{fields[:-1]},"{CODES}":{{{codes}}}}}\n'
            row += 1


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _checked_id(item_id: str | None, row: int) -> str:
    if not item_id or len(item_id.encode()) > _ID_BYTES:
        raise UserError(
            f"items.parquet, row {row}: item id {item_id!r} cannot be a document's id, which has 1 to {_ID_BYTES}"
            " bytes of UTF-8; rename the item and export the model again"
        )
    return item_id
