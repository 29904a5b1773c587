"""Features of events and users as the distinct rows that they make, each kept once, and a number for every row.

Many events have few distinct rows of features (an hour and a device, say), and a model holds those only.
"""

from __future__ import annotations

import itertools
import pathlib
import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from protos.errors import UserError
from trainer.config import FeatureConfig
from trainer.data.features import Columns, take
from trainer.features.raw import checked

# Tables are joined some at a time, so that every one of many does not cost as much as all that was joined before.
_ROWS_AT_ONCE = 65_536


class DistinctRows(NamedTuple):
    """K distinct rows of features, as they first came; without columns all rows are one.

    Attributes:
      columns: of K entries.
      count: K.
    """

    columns: Columns
    count: int


NO_ROWS = DistinctRows({}, 0)


def distinct_rows(columns: Columns, count: int) -> tuple[DistinctRows, np.ndarray]:
    """The distinct ones of `count` rows, and `[count]` which of them each row is."""
    codes = np.zeros(count, np.int64)
    for column in columns.values():
        own = _codes(column)
        codes = np.unique(codes * (own.max(initial=0) + 1) + own, return_inverse=True)[1]
    _, firsts, codes = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(firsts)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return DistinctRows(take(columns, firsts[order]), len(firsts)), number[codes]


def _codes(column: pa.Array) -> np.ndarray:
    """`[N]` int64: equal entries have equal numbers."""
    if not pa.types.is_nested(column.type):
        return np.asarray(column.dictionary_encode(null_encoding="encode").indices, np.int64)
    numbers: dict[tuple | None, int] = {}
    entries = (None if each is None else tuple(each) for each in column.to_pylist())
    return np.fromiter((numbers.setdefault(each, len(numbers)) for each in entries), np.int64, len(column))


def joined_rows(tables: Iterable[DistinctRows], place: str, most: int) -> tuple[DistinctRows, list[np.ndarray]]:
    """The distinct rows of several tables, and for each table which of them its rows are.

    Args:
      tables: of the same columns.
      place: `events` or `users`, for errors.
      most: rows that the outcome may have.

    Raises:
      UserError: it has more.
    """
    whole, numbers, group = NO_ROWS, [], []
    for table in itertools.chain(tables, [None]):
        if table is not None:
            group.append(table)
        if table is None or sum(each.count for each in group) > max(_ROWS_AT_ONCE, whole.count):
            whole, of_group = _appended(whole, group)
            numbers += of_group
            group = []
            if whole.count > most:
                raise _too_many(whole, place, most)
    return whole, numbers


def _appended(whole: DistinctRows, group: Sequence[DistinctRows]) -> tuple[DistinctRows, list[np.ndarray]]:
    """What distinct rows become by further tables, and which of them the rows of each table are."""
    parts = [part for part in (whole, *group) if part.count]
    names = parts[0].columns if parts else ()
    columns = {name: pa.concat_arrays([part.columns[name] for part in parts]) for name in names}
    joined, codes = distinct_rows(columns, sum(part.count for part in parts))
    # The rows that were there keep their numbers: they are distinct, and come first.
    ends = np.cumsum([whole.count, *(table.count for table in group)])
    return joined, [codes[start:end] for start, end in itertools.pairwise(ends.tolist())]


def _too_many(rows: DistinctRows, place: str, most: int) -> UserError:
    sizes = {name: distinct_rows({name: column}, rows.count)[0].count for name, column in rows.columns.items()}
    widest = max(sizes, key=sizes.get)
    return UserError(
        f"the features of {place} ({', '.join(sizes)}) have more than {most:,} distinct rows, each of which the model"
        f" holds; {widest!r} differs most, with {sizes[widest]:,} values: round it or leave it out of the schema, raise"
        " --max_distinct, or leave the features of events and users out with --no_context"
    )


def require_kinds(rows: DistinctRows, declared: Sequence[FeatureConfig], place: str) -> None:
    """Checks now what would stop the training.

    Raises:
      UserError: a column is not of the kind that is declared.
    """
    for feature in declared:
        checked(rows.columns[feature.name], feature, place)


def read_rows(paths: Iterable[pathlib.Path]) -> Iterator[DistinctRows]:
    """Tables that tasks have left as pickles."""
    return (pickle.loads(path.read_bytes()) for path in paths)
