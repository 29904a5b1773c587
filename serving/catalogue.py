"""The catalogue as tensors: public item ids outside, rows inside."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

from protos.errors import UserError

ITEMS_FILE = "items.parquet"


class Catalogue(tf.Module):
    """Translates between public item ids and catalogue rows.

    The ids live in an asset (id to row) and a variable (row to id), not in the graph, which may not
    grow past 2 GB.

    Attributes:
      num_items: I.
    """

    def __init__(self, ids: Sequence[str], asset: pathlib.Path) -> None:
        """Builds both directions.

        Args:
          ids: public ids, row by row.
          asset: a file to write the ids to; saving the module copies it into the SavedModel.

        Raises:
          UserError: an id is empty, holds a line break, or occurs twice.
        """
        super().__init__()
        _check(ids)
        self.num_items = len(ids)
        asset.write_bytes("".join(f"{item_id}\n" for item_id in ids).encode())
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        initializer = tf.lookup.TextFileInitializer(str(asset), tf.string, line, tf.int64, number)
        self._rows = tf.lookup.StaticHashTable(initializer, default_value=-1)
        # One id more than there are items: the id of no item.
        self._ids = tf.Variable(np.array([*ids, ""], object), trainable=False, name="item_ids")

    def rows(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows of `[...]` string ids as int64, -1 where the id is unknown."""
        return self._rows.lookup(ids)

    def ids(self, rows: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
        """Ids of `[...]` rows, "" where not `valid`."""
        return tf.gather(self._ids, tf.where(valid, rows, self.num_items))


def read_item_ids(items: pathlib.Path, num_items: int) -> list[str]:
    """The public ids of an export's catalogue, row by row.

    Raises:
      UserError: there are not as many as the model has items.
    """
    ids = pq.read_table(items, columns=["item_id"])["item_id"].to_pylist()
    if len(ids) != num_items:
        raise UserError(f"{items} has {len(ids)} items, the model's manifest says {num_items}; export the model again")
    return ids


def _check(ids: Sequence[str]) -> None:
    seen: dict[str, int] = {}
    for row, item_id in enumerate(ids):
        if item_id == "" or "\n" in item_id or "\r" in item_id:
            raise UserError(
                f"items.parquet, row {row}: item id {item_id!r} is empty or holds a line break, which an id looked"
                " up by its text cannot; rename the item and export the model again"
            )
        if seen.setdefault(item_id, row) != row:
            raise UserError(f"items.parquet, rows {seen[item_id]} and {row}: the same item id {item_id!r} twice")
