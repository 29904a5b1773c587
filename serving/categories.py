"""Categories of items, and the choice among candidates by them."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from protos.errors import UserError
from serving.sums import Candidates

DEFAULT_COLUMN = "genres"
# A table needs a line. Where there are no categories, no item has this one.
_PLACEHOLDER = ("none",)


@dataclasses.dataclass(frozen=True)
class ItemCategories:
    """The categories of all items.

    Attributes:
      names: public names, all different; their places are the categories' numbers.
      numbers: `[T]` int32, those of all items one after the other.
      splits: `[I + 1]` int64; item `i` has the numbers `splits[i]` to `splits[i + 1] - 1`.
    """

    names: Sequence[str]
    numbers: np.ndarray
    splits: np.ndarray


def no_categories(num_items: int) -> ItemCategories:
    """Items that have none."""
    return ItemCategories((), np.zeros(0, np.int32), np.zeros(num_items + 1, np.int64))


def category_column(items: pathlib.Path, asked: str | None) -> str | None:
    """The column of a catalogue to take categories from: the one asked for ("" is none), or genres where there are.

    Raises:
      UserError: there is no column of that name.
    """
    columns = pq.read_schema(items).names
    if asked is None:
        return DEFAULT_COLUMN if DEFAULT_COLUMN in columns else None
    if asked and asked not in columns:
        raise UserError(
            f"--category_column {asked}: {items} has no such column; it has {', '.join(columns)}; choose one of them,"
            " or '' for none"
        )
    return asked or None


def read_categories(items: pathlib.Path, column: str) -> ItemCategories:
    """Reads the categories of a catalogue. Null and "" are no category.

    Raises:
      UserError: the column holds neither strings nor lists of strings, or a name has a line break.
    """
    values = pq.read_table(items, columns=[column])[column].combine_chunks()
    place = f"{items}, column {column!r}"
    lists = values if _is_list(values.type) else _one_each(values)
    if not _is_text(lists.type.value_type):
        raise UserError(
            f"{place} holds {values.type}; categories are strings or lists of strings: choose another"
            " --category_column, or '' for none"
        )
    item_of = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    names = pc.list_flatten(lists).cast(pa.string())
    kept = pc.fill_null(pc.not_equal(names, ""), False).to_numpy(zero_copy_only=False)
    encoded = names.filter(pa.array(kept)).dictionary_encode()
    _check_names(encoded.dictionary.to_pylist(), place)
    counts = np.bincount(item_of[kept], minlength=len(lists))
    return ItemCategories(
        names=encoded.dictionary.to_pylist(),
        numbers=encoded.indices.to_numpy(zero_copy_only=False).astype(np.int32),
        splits=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _one_each(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1), pa.int32()), values)


def _check_names(names: Sequence[str], place: str) -> None:
    for name in names:
        if "\n" in name or "\r" in name:
            raise UserError(
                f"{place}: the category {name!r} holds a line break, which one looked up by its text cannot; rename it"
                " and export the model again"
            )


class Categories(tf.Module):
    """Keeps candidates by their categories, at a cost of the candidates, whatever the size of the catalogue.

    The names live in an asset and the categories of the items in variables, not in the graph.
    """

    def __init__(self, categories: ItemCategories, asset: pathlib.Path) -> None:
        """Holds `categories`; `asset` is a file to write names to, which saving the module copies."""
        super().__init__()
        asset.write_bytes("".join(f"{name}\n" for name in categories.names or _PLACEHOLDER).encode())
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        initializer = tf.lookup.TextFileInitializer(str(asset), tf.string, line, tf.int64, number)
        unknown = len(categories.names)  # a number that no item has
        self._table = tf.lookup.StaticHashTable(initializer, default_value=unknown)
        self._stride = unknown + 1
        self._numbers = tf.Variable(categories.numbers, trainable=False, name="item_categories")
        self._splits = tf.Variable(categories.splits, trainable=False, name="item_category_splits")

    def keep(self, candidates: Candidates, allow: tf.Tensor, deny: tf.Tensor) -> Candidates:
        """The candidates that may be returned; others are no longer `valid`.

        Args:
          candidates: of B queries.
          allow: `[B, A]` string: an item must be in one of them; where all are "", every item is allowed.
          deny: `[B, D]` string: no item in one of them is kept.
        """
        given = tf.reduce_any(allow != "") | tf.reduce_any(deny != "")
        valid = tf.cond(given, lambda: self._kept(candidates, allow, deny), lambda: candidates.valid)
        return candidates._replace(valid=valid)

    def _kept(self, candidates: Candidates, allow: tf.Tensor, deny: tf.Tensor) -> tf.Tensor:
        places, keys = self._of_candidates(candidates)
        allowed = self._are_in(allow, places, keys, candidates) | tf.reduce_all(allow == "", 1, keepdims=True)
        return candidates.valid & allowed & ~self._are_in(deny, places, keys, candidates)

    def _of_candidates(self, candidates: Candidates) -> tuple[tf.Tensor, tf.Tensor]:
        """The categories of all candidates, `[T]`: the place of each one's candidate in the batch, and its key."""
        rows = tf.reshape(candidates.rows, [-1])
        begins = tf.gather(self._splits, rows)
        ends = tf.where(tf.reshape(candidates.valid, [-1]), tf.gather(self._splits, rows + 1), begins)
        positions = tf.ragged.range(begins, ends)
        places = positions.value_rowids()
        queries = places // tf.maximum(tf.shape(candidates.rows, tf.int64)[1], 1)
        return places, self._key(queries, tf.cast(tf.gather(self._numbers, positions.values), tf.int64))

    def _key(self, queries: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
        """One integer for a query and a category."""
        return queries * self._stride + numbers

    def _are_in(self, names: tf.Tensor, places: tf.Tensor, keys: tf.Tensor, candidates: Candidates) -> tf.Tensor:
        """Whether `[B, C]` candidates have one of their query's categories `names [B, N]`."""
        queries = tf.range(tf.shape(names, tf.int64)[0])[:, None]
        wanted = tf.reshape(self._key(queries, self._table.lookup(names)), [-1])
        # One more at the end, so that what is past all of them is found there.
        wanted = tf.concat([tf.sort(wanted), [tf.int64.max]], 0)
        hits = tf.gather(wanted, tf.searchsorted(wanted, keys)) == keys
        found = tf.math.unsorted_segment_sum(tf.cast(hits, tf.int32), places, tf.size(candidates.rows))
        return tf.reshape(found > 0, tf.shape(candidates.rows))
