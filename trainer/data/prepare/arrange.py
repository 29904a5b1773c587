"""The second stage: the events of a partition's users, in order, without repeats, in the parts of the split."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import pickle
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from trainer.data.interactions import Coded, Events, Interactions, build_interactions
from trainer.data.prepare.tasks import Task, whole_file
from trainer.data.prepare.vocabulary import ItemCounts
from trainer.data.schema.events import Vocabulary, time_order
from trainer.data.splits import METHODS, TRAIN

_PIECES = "pieces.json"


class Arranged(NamedTuple):
    """The events of a partition, and the part of the split that each is in."""

    interactions: Interactions
    parts: np.ndarray


@dataclasses.dataclass(frozen=True)
class Arrange(Task):
    """Arranges the partition of its number, of the pieces that `write_piece_names` has left.

    Attributes:
      method: of the split.
      capacity: distinct items that are counted exactly.
    """

    method: str
    capacity: int

    def do(self) -> None:
        """Writes the arranged events, and the counts of their training items."""
        counts = ItemCounts(self.capacity)
        arranged = _arranged(_read_piece_names(self.scratch), self.number, self.method)
        if arranged is not None:
            made, parts = arranged
            found = np.bincount(made.items[parts == TRAIN], minlength=len(made.catalogue))
            for row in np.flatnonzero(found).tolist():
                counts.add(made.catalogue.item_id[row], int(found[row]))
        with whole_file(arranged_path(self.scratch, self.number)) as temporary:
            temporary.write_bytes(pickle.dumps(arranged))
        with whole_file(counts_path(self.scratch, self.number)) as temporary:
            temporary.write_bytes(counts.to_bytes())


def write_piece_names(scratch: str, pieces: Sequence[str]) -> None:
    """Leaves the pieces of all files, in the order of the log, for `Arrange`: with the tasks they would go P times."""
    (pathlib.Path(scratch) / _PIECES).write_text(json.dumps(pieces))


def _read_piece_names(scratch: str) -> list[str]:
    return json.loads((pathlib.Path(scratch) / _PIECES).read_text())


def arranged_path(scratch: str, partition: int) -> pathlib.Path:
    """Where the arranged events of a partition are: a pickled Arranged, None where there are no events."""
    return pathlib.Path(scratch) / f"arranged-{partition}.pickle"


def counts_path(scratch: str, partition: int) -> pathlib.Path:
    """Where the counts of a partition's training items are."""
    return pathlib.Path(scratch) / f"counts-{partition}.sketch"


def _arranged(pieces: Sequence[str], partition: int, method: str) -> Arranged | None:
    users, items = Vocabulary(), Vocabulary()
    user_codes, item_codes, micros = [], [], []
    for path in pieces:
        with pa.OSFile(path) as opened:
            batch = pa.ipc.open_file(opened).get_batch(partition)
            user_codes.append(users.encode(batch["user"]))
            item_codes.append(items.encode(batch["item"]))
            if "micros" in batch.schema.names:
                micros.append(batch["micros"].to_numpy())
    if not sum(map(len, user_codes)):
        return None
    codes = [np.concatenate(parts) for parts in (user_codes, item_codes)]
    order, times = time_order(np.concatenate(micros) if micros else None, len(codes[0]))
    events = Events(Coded(codes[0][order], users.ids()), Coded(codes[1][order], items.ids()), times)
    made = build_interactions("", events, {})
    return Arranged(made, METHODS[method](made))
