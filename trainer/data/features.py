"""Named columns that say more of items, events and users than their ids.

A column is an Arrow array: compact in memory for text and for lists of any length, with null for what
is missing, and written to Parquet as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pyarrow as pa

Columns = Mapping[str, pa.Array]
NONE: Columns = MappingProxyType({})

_YEAR = re.compile(r"\((\d{4})\)\s*$")
_HOUR, _DAY = 3_600, 86_400
_THURSDAY = 3  # 1 January 1970, counted from Monday


class FeatureColumns(NamedTuple):
    """What a split knows beside ids.

    Attributes:
      items: columns of the catalogue.
      events: columns of events, an entry for each or for each distinct one.
      users: columns of users, alike.
      event_counts: how many training events each entry of the event columns is of; encoders are fitted on those only.
      user_counts: how many users each entry of the user columns is of; None: one.
    """

    items: Columns = NONE
    events: Columns = NONE
    users: Columns = NONE
    event_counts: np.ndarray | None = None
    user_counts: np.ndarray | None = None


NO_COLUMNS = FeatureColumns()


def take(columns: Columns, rows: Iterable[int] | np.ndarray) -> dict[str, pa.Array]:
    """The columns of these rows, in this order."""
    indices = pa.array(np.asarray(rows, np.int64))
    return {name: column.take(indices) for name, column in columns.items()}


def release_years(titles: Iterable[str]) -> pa.Array:
    """The year at the end of each title, as in `Heat (1995)`; null where there is none."""
    found = (_YEAR.search(title) for title in titles)
    return pa.array([match and int(match[1]) for match in found], pa.int32())


def clock(times: np.ndarray) -> dict[str, pa.Array]:
    """Columns `hour` (0 to 23, UTC) and `weekday` (0 is Monday) of seconds since 1970."""
    return {
        "hour": pa.array((times // _HOUR % 24).astype(np.int8)),
        "weekday": pa.array(((times // _DAY + _THURSDAY) % 7).astype(np.int8)),
    }
