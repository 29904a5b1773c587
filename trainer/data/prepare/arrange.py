"""The second stage: the events of a partition's users, in order, without repeats, in the parts of the split."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import pickle
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data.features import NONE, Columns
from trainer.data.interactions import Coded, Events, Interactions, build_interactions
from trainer.data.prepare.distinct import NO_ROWS, distinct_rows
from trainer.data.prepare.scatter import ITEM, TIME, USER, features_of
from trainer.data.prepare.tasks import Task, whole_file
from trainer.data.prepare.vocabulary import ItemCounts
from trainer.data.schema.columns import joined
from trainer.data.schema.events import Vocabulary, time_order
from trainer.data.schema.report import MOST_EXAMPLES
from trainer.data.splits import METHODS, TRAIN

PLACES = ("events", "users")
_PIECES = "pieces.json"


class Pieces(NamedTuple):
    """The pieces of all files of the log, in their order, and those of a table of users, if there is one."""

    events: Sequence[str]
    users: Sequence[str] = ()


class Arranged(NamedTuple):
    """The events of a partition.

    Attributes:
      interactions: without features.
      parts: `[N]` the part of the split that each event is in.
      events: `[N]` which of the partition's distinct rows of event features each event has.
      users: `[U]` the same of users.
    """

    interactions: Interactions
    parts: np.ndarray
    events: np.ndarray
    users: np.ndarray


class Lacking(NamedTuple):
    """How many of a partition's users have no row in the table of users, of how many, and some of them."""

    absent: int
    users: int
    examples: list[str]


@dataclasses.dataclass(frozen=True)
class Arrange(Task):
    """Arranges the partition of its number, of the pieces that `write_piece_names` has left.

    Attributes:
      method: of the split.
      capacity: distinct items that are counted exactly.
    """

    method: str
    capacity: int

    def do(self) -> Lacking:
        """Writes the arranged events, the counts of their training items, and the distinct rows of their features."""
        pieces, counts = _read_piece_names(self.scratch), ItemCounts(self.capacity)
        made = _interactions(pieces.events, self.number)
        arranged, events, users, lacking = None, NO_ROWS, NO_ROWS, Lacking(0, 0, [])
        if made is not None:
            traits, lacking = _traits(pieces.users, self.number, made.user_ids)
            events, event_codes = distinct_rows(made.event_features, len(made))
            users, user_codes = distinct_rows(traits, len(made.user_ids))
            parts = METHODS[self.method](made)
            arranged = Arranged(dataclasses.replace(made, event_features={}), parts, event_codes, user_codes)
            _count(made, parts, counts)
        for path, content in (
            (arranged_path(self.scratch, self.number), pickle.dumps(arranged)),
            (counts_path(self.scratch, self.number), counts.to_bytes()),
            (distinct_path(self.scratch, "events", self.number), pickle.dumps(events)),
            (distinct_path(self.scratch, "users", self.number), pickle.dumps(users)),
        ):
            with whole_file(path) as temporary:
                temporary.write_bytes(content)
        return lacking


def write_piece_names(scratch: str, pieces: Pieces) -> None:
    """Leaves the names of pieces for `Arrange`: with the tasks they would go P times."""
    (pathlib.Path(scratch) / _PIECES).write_text(json.dumps(pieces))


def _read_piece_names(scratch: str) -> Pieces:
    return Pieces(*json.loads((pathlib.Path(scratch) / _PIECES).read_text()))


def arranged_path(scratch: str, partition: int) -> pathlib.Path:
    """Where the arranged events of a partition are: a pickled Arranged, None where there are no events."""
    return pathlib.Path(scratch) / f"arranged-{partition}.pickle"


def counts_path(scratch: str, partition: int) -> pathlib.Path:
    """Where the counts of a partition's training items are."""
    return pathlib.Path(scratch) / f"counts-{partition}.sketch"


def distinct_path(scratch: str, place: str, partition: int) -> pathlib.Path:
    """Where the distinct rows of a partition's features are: of `events` or of `users`."""
    return pathlib.Path(scratch) / f"distinct-{place}-{partition}.pickle"


def _count(made: Interactions, parts: np.ndarray, counts: ItemCounts) -> None:
    found = np.bincount(made.items[parts == TRAIN], minlength=len(made.catalogue))
    for row in np.flatnonzero(found).tolist():
        counts.add(made.catalogue.item_id[row], int(found[row]))


def _batches(pieces: Sequence[str], partition: int) -> Iterator[pa.RecordBatch]:
    for path in pieces:
        with pa.OSFile(path) as opened:
            yield pa.ipc.open_file(opened).get_batch(partition)


def _interactions(pieces: Sequence[str], partition: int) -> Interactions | None:
    users, items = Vocabulary(), Vocabulary()
    user_codes, item_codes, micros, features = [], [], [], []
    for batch in _batches(pieces, partition):
        user_codes.append(users.encode(batch[USER]))
        item_codes.append(items.encode(batch[ITEM]))
        features.append(features_of(batch))
        if TIME in batch.schema.names:
            micros.append(batch[TIME].to_numpy())
    if not sum(map(len, user_codes)):
        return None
    codes = [np.concatenate(parts) for parts in (user_codes, item_codes)]
    order, times = time_order(np.concatenate(micros) if micros else None, len(codes[0]))
    columns = {name: column.take(pa.array(order)) for name, column in joined(features, "interactions").items()}
    coded = (Coded(codes[0][order], users.ids()), Coded(codes[1][order], items.ids()))
    return build_interactions("", Events(*coded, times, features=columns), {})


def _traits(pieces: Sequence[str], partition: int, user_ids: Sequence[str]) -> tuple[Columns, Lacking]:
    """Columns of users, from the first row of each in the table; null where it has none."""
    if not pieces:
        return NONE, Lacking(0, len(user_ids), [])
    batches = list(_batches(pieces, partition))
    ids = pa.array(user_ids, pa.string())
    places = pc.index_in(ids, pa.concat_arrays([batch[USER] for batch in batches]))
    columns = joined([features_of(batch) for batch in batches], "users")
    absent = ids.filter(places.is_null())
    lacking = Lacking(len(absent), len(ids), absent[:MOST_EXAMPLES].to_pylist())
    return {name: column.take(places) for name, column in columns.items()}, lacking
