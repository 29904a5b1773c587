"""Plain text without times or titles: `user item` lines, or `user item item ...` lines with a fixed split.

Lines are split at white space. The order of the text is the order of time.
"""

from __future__ import annotations

import pathlib

import numpy as np

from protos.errors import UserError
from trainer.data.interactions import Coded, Events, Interactions, build_interactions
from trainer.data.tables import text_lines


def read_pairs(path: pathlib.Path) -> Interactions:
    """Reads one `user item` interaction a line, as SASRec's data sets are published.

    Args:
      path: of the file.

    Raises:
      UserError: the file is missing or empty, or a line has not two fields.
    """
    users, items = [], []
    for number, line in text_lines(path):
        fields = line.split()
        if len(fields) != 2:
            raise UserError(f"{path}, line {number}: {len(fields)} fields, expected 'user item'; found {line[:200]!r}")
        users.append(fields[0])
        items.append(fields[1])
    events = Events(Coded.of(users), Coded.of(items), np.arange(len(users)))
    return build_interactions(path.stem, events, {})


def read_lists(directory: pathlib.Path) -> Interactions:
    """Reads train.txt and test.txt, `user item item ...` a line, as LightGCN's data sets are published.

    The events of test.txt are held out (split method `fixed`). An item that a user has in both files
    stays in training only. A user with no items is left out.

    Raises:
      UserError: a file is missing or empty, or neither names an item.
    """
    users, items, held_out = [], [], []
    for name in ("train.txt", "test.txt"):
        for _, line in text_lines(directory / name):
            user, *taken = line.split()
            users += [user] * len(taken)
            items += taken
            held_out += [name == "test.txt"] * len(taken)
    if not items:
        raise UserError(f"{directory}: train.txt and test.txt name no items; expected 'user item item ...' lines")
    events = Events(Coded.of(users), Coded.of(items), np.arange(len(users)), np.array(held_out))
    return build_interactions(directory.name, events, {})
