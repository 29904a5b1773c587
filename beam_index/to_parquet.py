"""`python -m beam_index.to_parquet`: the posting lists of an index as one table, a row a posting."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_index.pair import Pair, open_pair, pair_parser, read_item_ids
from beam_index.reader import posting_lists
from protos.codes import CodeSpace
from protos.errors import UserError, run_cli
from protos.postings import Postings

# Postings of a row group, about: lists are not cut.
GROUP_POSTINGS = 1_000_000
SCHEMA = pa.schema(
    [
        ("key", pa.int64()),
        ("slot", pa.int32()),
        ("codes", pa.list_(pa.int32())),
        ("row", pa.int32()),
        ("item_id", pa.large_string()),
        ("score", pa.float32()),
        ("threshold", pa.float32()),
    ]
)

_DESCRIPTION = """\
Writes the posting lists of an index as a Parquet file for analysis: a row a posting, by list key,
in the order of the list. Empty lists have no rows.
"""
_EPILOG = """\
columns:
  key        of the list
  slot       of the code; null in the lists of events
  codes      of the code, one a codebook; null in the lists of events
  row        of the item in the catalogue
  item_id    public id of the item
  score      of the posting
  threshold  of the list: what was taken off the scores of a code

example:
  python -m beam_index.to_parquet --model run/export --index index --output postings.parquet
"""


def write(pair: Pair, output: pathlib.Path, group_postings: int = GROUP_POSTINGS) -> int:
    """Writes the table and returns its number of rows; holds one row group at a time.

    Args:
      pair: model and index.
      output: file to write. It gets its name when it is whole.
      group_postings: of a row group, about.

    Raises:
      UserError: the file cannot be written.
    """
    ids = read_item_ids(pair)
    temporary = output.with_name(f".{output.name}.unfinished")
    rows = 0
    try:
        with temporary.open("wb") as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
            for lists in _groups(posting_lists(pair.index), group_postings):
                table = _table(lists, ids, pair.space)
                writer.write_table(table, row_group_size=max(1, table.num_rows))
                rows += table.num_rows
        temporary.rename(output)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def _groups(lists: Iterable[Postings], group_postings: int) -> Iterator[list[Postings]]:
    group: list[Postings] = []
    postings = 0
    for found in lists:
        group.append(found)
        postings += len(found.items)
        if postings >= group_postings:
            yield group
            group, postings = [], 0
    if postings:
        yield group


def _table(lists: Sequence[Postings], ids: pa.ChunkedArray, space: CodeSpace) -> pa.Table:
    lengths = [len(found.items) for found in lists]
    keys = np.repeat(np.array([found.key for found in lists], np.int64), lengths)
    rows = np.concatenate([np.asarray(found.items, np.int32) for found in lists])
    of_event = keys >= space.size
    slots, codes = space.decode(np.where(of_event, 0, keys))
    offsets = np.arange(0, codes.size + 1, space.num_codebooks, dtype=np.int32)
    columns = {
        "key": keys,
        "slot": pa.array(slots, mask=of_event),
        "codes": pa.ListArray.from_arrays(offsets, codes.ravel(), mask=pa.array(of_event)),
        "row": rows,
        "item_id": ids.take(pa.array(rows)),
        "score": np.concatenate([np.asarray(found.scores, np.float32) for found in lists]),
        "threshold": np.repeat(np.array([found.threshold for found in lists], np.float32), lengths),
    }
    return pa.table(columns, SCHEMA)


def main(argv: Sequence[str]) -> None:
    """Writes the table and prints how long it is."""
    parser = pair_parser("python -m beam_index.to_parquet", _DESCRIPTION, _EPILOG)
    parser.add_argument("--output", type=pathlib.Path, required=True, help="file to write, replaced if it is there")
    known = parser.parse_args(argv)
    rows = write(open_pair(known.model, known.index), known.output)
    print(f"{known.output}: {rows:,} postings, {known.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    run_cli(main)
