"""Ready lists: posting lists that the export brings along, copied into the index as they are.

They are read as arrays, some hundreds of lists at a time: of a million lists, few are in memory.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_index.dead_letters import DeadLetter, Source, require_few
from beam_index.geometry import Span
from beam_index.parquet import is_list_of, open_parquet
from beam_index.ready_checks import CURE, ListBatch, faults, null_faults
from protos.codes import CodeSpace
from protos.errors import UserError
from protos.postings import Postings

KIND = "ready_list"
BATCH_LISTS = 512
_LIST_COLUMNS = {"items": pa.int32(), "scores": pa.float32()}


class ReadyCounts(NamedTuple):
    """Ready lists.

    Attributes:
      lists: sound ones.
      postings: of them.
      bad: the others, by ascending row.
    """

    lists: int
    postings: int
    bad: tuple[DeadLetter, ...] = ()


def check_ready_lists(
    model: str | os.PathLike[str], space: CodeSpace, num_items: int, max_bad_share: float = 0.0
) -> ReadyCounts:
    """Reads all ready lists once, before the work starts that would be lost with them.

    Args:
      model: directory of the export. Its `lists.parquet` has the columns `key` int64, `items` list<int32>
        and `scores` list<float32>.
      space: the model's codes; ready lists have keys above theirs.
      num_items: of the catalogue.
      max_bad_share: of the lists that may be bad.

    Returns:
      How many lists there are, and how many postings in them, and which are bad.

    Raises:
      UserError: the file will not do, or more lists contradict the contract (see `ready_checks.faults`).
    """
    path = _path(model)
    with _open(path) as file:
        total, previous, postings, first, bad = file.metadata.num_rows, space.size - 1, 0, 0, []
        for table in _tables(file, Span(0, total)):
            for start, part in _sound_or_single(table, previous, num_items, space):
                fault = _fault(part, previous, num_items, space)
                if fault is not None:
                    bad.append(DeadLetter(KIND, first + start, part["key"][0].as_py(), fault))
                    continue
                previous = part["key"][-1].as_py()
                postings += len(part["items"].flatten())
            first += table.num_rows
    require_few(bad, total, max_bad_share, Source(f"ready lists {path}", CURE))
    return ReadyCounts(total - len(bad), postings, tuple(bad))


def _sound_or_single(
    table: pa.RecordBatch, previous: int, num_items: int, space: CodeSpace
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(first row, lists): all of them if they are sound, else one by one, so that each is judged by itself."""
    if _fault(table, previous, num_items, space) is None:
        yield 0, table
    else:
        yield from ((row, table.slice(row, 1)) for row in range(table.num_rows))


def _fault(table: pa.RecordBatch, previous: int, num_items: int, space: CodeSpace) -> str | None:
    """The first fault of some lists; `previous` is the key of the last sound list before them."""
    null = next(null_faults(table), None)
    return null or next(faults(_arrays(table), previous, num_items, space), None)


def ready_lists(
    model: str | os.PathLike[str],
    lists: Span,
    floor: np.float32,
    removed: np.ndarray,
    bad: Sequence[DeadLetter] = (),
) -> Iterator[Postings]:
    """Some of the ready lists, which were checked before.

    Args:
      model: directory of the export.
      lists: their positions among the sound ones of the file.
      floor: -bias of the model, the threshold of a list of which nothing was cut.
      removed: catalogue rows `[r]` that no list may hold.
      bad: lists to leave out, by ascending row.
    """
    rows = np.array([letter.row for letter in bad], np.int64)
    first, stop = (_place_in_file(position, rows) for position in (lists.start, lists.stop))
    with _open(_path(model)) as file:
        for whole in _tables(file, Span(first, stop)):
            table = whole.filter(pa.array(~np.isin(np.arange(first, first + whole.num_rows), rows)))
            first += whole.num_rows
            keys, offsets, _, items, scores = _arrays(table)
            for key, start, stop in zip(keys.tolist(), offsets[:-1], offsets[1:], strict=True):
                kept = ~np.isin(items[start:stop], removed)
                yield Postings(key, float(floor), items[start:stop][kept], scores[start:stop][kept])


def _place_in_file(position: int, bad: np.ndarray) -> int:
    """The row of the sound list at `position` among sound ones; `bad` are the rows of the others, ascending."""
    sound_before = bad - np.arange(len(bad))
    return position + int(np.searchsorted(sound_before, position, side="right"))


def _path(model: str | os.PathLike[str]) -> pathlib.Path:
    return pathlib.Path(model) / "lists.parquet"


def _open(path: pathlib.Path) -> pq.ParquetFile:
    file = open_parquet(path, f"ready lists {path}", CURE)
    kinds = {field.name: field.type for field in file.schema_arrow}
    sound = kinds.get("key") == pa.int64() and all(
        name in kinds and is_list_of(kinds[name], value) for name, value in _LIST_COLUMNS.items()
    )
    if not sound:
        found = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
        raise _error(path, f"the columns are {found}; expected key int64, items list<int32>, scores list<float32>")
    return file


def _tables(file: pq.ParquetFile, lists: Span) -> Iterator[pa.RecordBatch]:
    """The lists at some positions, at most BATCH_LISTS at a time and at least one; skips groups of rows before them."""
    first = 0
    for group in range(file.num_row_groups):
        width = file.metadata.row_group(group).num_rows
        if first + width <= lists.start:
            first += width
            continue
        for table in file.iter_batches(BATCH_LISTS, row_groups=[group], columns=["key", *_LIST_COLUMNS]):
            if first >= lists.stop:
                return
            wanted = table[max(lists.start - first, 0) : max(lists.stop - first, 0)]
            first += table.num_rows
            if wanted.num_rows:
                yield wanted


def _arrays(table: pa.RecordBatch) -> ListBatch:
    items, scores = table["items"], table["scores"]
    item_offsets, score_offsets = (column.offsets.to_numpy() - column.offsets[0].as_py() for column in (items, scores))
    return ListBatch(
        table["key"].to_numpy(), item_offsets, score_offsets, items.flatten().to_numpy(), scores.flatten().to_numpy()
    )


def _error(path: pathlib.Path, fault: str) -> UserError:
    return UserError(f"ready lists {path}: {fault}; {CURE}")
