"""`python -m trainer.extend`: an export whose catalogue has changed, without training anew.

What scores depend on of the items stands in tables of the exported scorer. A new item gets a row made of its
features, as `SequenceModel.vectors_from_features` makes it; an item whose features have changed gets its row made
anew, from its id and its features; a removed item keeps its row, so that no other row moves, and is marked. In
histories, a removed item counts as before, and a new one counts for nothing until the model is trained again.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from protos.artifact import new_artifact, read_manifest, write_manifest
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from trainer.config import FeatureConfig
from trainer.data.features import Columns
from trainer.export import FORMAT, check_ids
from trainer.features.raw import raw_values

_REMOVED = "removed"
_UNCHANGED = ("query", "lists.parquet", "queries.parquet")


class Changes(NamedTuple):
    """How many items were added, changed and removed."""

    added: int
    changed: int
    removed: int


def extend(model: pathlib.Path, items: pa.Table | None, removed: Sequence[str], output: pathlib.Path) -> Changes:
    """Writes the export `model` with another catalogue.

    Args:
      model: an export of a model whose items have features.
      items: new and changed items: a column `item_id`, the features that the model declares, and any others of
        the catalogue. A removed item that is given again comes back.
      removed: ids of items that are not to be recommended any more.
      output: replaced as a whole when it is complete.

    Raises:
      UserError: the model's items have no features; a column is missing or not of its kind; an id is given twice, is
        not known but to be removed, or cannot stand on a line of its own.
    """
    manifest = read_manifest(model, FORMAT)
    catalogue = pq.read_table(model / "items.parquet")
    ids = catalogue["item_id"].to_pylist()
    given = [] if items is None else _given_ids(items)
    rows = _rows(ids, given, removed)
    with new_artifact(output) as building:
        for name in _UNCHANGED:
            copy = shutil.copytree if (model / name).is_dir() else shutil.copy2
            copy(model / name, building / name)
        scorer = tf.saved_model.load(str(model / "scorer"))
        if given:
            _set_rows(scorer, rows.given, _inputs(scorer, items, manifest["model"]))
        signatures = {name: scorer.signatures[name] for name in scorer.signatures}
        tf.saved_model.save(scorer, str(building / "scorer"), signatures)
        pq.write_table(_catalogue(catalogue, items, rows), building / "items.parquet")
        described = manifest["model"] | {"num_items": rows.count}
        write_manifest(building, FORMAT, model=described, versions=manifest["versions"])
    known = int((rows.given < len(ids)).sum())
    return Changes(len(given) - known, known, len(rows.removed))


class _Rows(NamedTuple):
    """Catalogue rows of the items given `[G]` and removed `[R]`, new ones past the old end; and how many there are."""

    given: np.ndarray
    removed: np.ndarray
    count: int


def _given_ids(items: pa.Table) -> list[str]:
    if "item_id" not in items.column_names:
        raise UserError(f"--items has the columns {', '.join(items.column_names)}; expected item_id among them")
    ids = items["item_id"].cast(pa.string()).to_pylist()
    check_ids(ids)
    twice = [item for item, count in zip(*np.unique(ids, return_counts=True), strict=True) if count > 1]
    if twice:
        raise UserError(f"--items has {str(twice[0])!r} more than once; expected every item once")
    return ids


def _rows(ids: Sequence[str], given: Sequence[str], removed: Sequence[str]) -> _Rows:
    place = {item: row for row, item in enumerate(ids)}
    unknown = [item for item in removed if item not in place]
    if unknown:
        raise UserError(f"--remove names {unknown[0]!r}, which the catalogue does not have ({len(unknown)} such ids)")
    both = sorted(set(given) & set(removed))
    if both:
        raise UserError(f"{both[0]!r} is both in --items and in --remove; expected one of them")
    new = (item for item in given if item not in place)
    place |= {item: len(ids) + number for number, item in enumerate(new)}
    of = lambda names: np.array([place[item] for item in names], np.int64)  # noqa: E731
    return _Rows(of(given), of(removed), len(place))


def _inputs(scorer: Any, items: pa.Table, model: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """The inputs of the scorer's `embed`."""
    declared = [FeatureConfig(**feature) for feature in model["features"]["items"]]
    if not declared or "embed" not in scorer.signatures:
        raise UserError(
            "the model's items have no features (features.items): a new item would be nothing to it; train with some"
        )
    columns: Columns = {name: items[name].combine_chunks() for name in items.column_names}
    inputs = {}
    for feature in declared:
        if feature.name not in columns:
            raise UserError(
                f"--items has no column {feature.name!r}, which the model needs; it has {', '.join(columns)}"
            )
        values = raw_values(columns[feature.name], feature, "items")
        inputs[feature.name] = values.to_tensor("") if isinstance(values, tf.RaggedTensor) else values
    return inputs


def _set_rows(scorer: Any, rows: np.ndarray, inputs: Mapping[str, tf.Tensor]) -> None:
    """Makes the rows of items anew, from their ids (of new items: nothing) and their features."""
    features = scorer.signatures["embed"](**inputs)
    vectors, biases = scorer.tables[::2], scorer.tables[1::2]
    for number, (table, bias, id_table) in enumerate(zip(vectors, biases, scorer.ids, strict=True)):
        _grow(bias, rows)
        ids = _grow(id_table, rows)
        made = tf.math.l2_normalize(ids[rows] + features[f"vectors_{number:02}"].numpy(), -1)
        whole = _grow(table, rows)
        whole[rows] = made.numpy()
        table.assign(whole)


def _grow(table: tf.Variable, rows: np.ndarray) -> np.ndarray:
    """A table with zeros for rows that it did not have."""
    values = table.numpy()
    more = max(0, int(rows.max()) + 1 - len(values))
    values = np.pad(values, [(0, more)] + [(0, 0)] * (values.ndim - 1))
    table.assign(values)
    return values


def _catalogue(old: pa.Table, items: pa.Table | None, rows: _Rows) -> pa.Table:
    """The catalogue's columns with the rows given; null, or the id for a title, where nothing was given."""
    gone = np.zeros(rows.count, bool)
    if _REMOVED in old.column_names:
        gone[: len(old)] = old[_REMOVED].to_numpy()
    gone[rows.given], gone[rows.removed] = False, True
    columns = {name: _merged(old[name], items, name, rows) for name in old.column_names if name != _REMOVED}
    return pa.table({**columns, _REMOVED: gone})


def _merged(old: pa.ChunkedArray, items: pa.Table | None, name: str, rows: _Rows) -> pa.Array:
    if items is None:
        return old.combine_chunks()
    given = name if name in items.column_names else "item_id" if name == "title" else None
    new = pa.nulls(len(items), old.type) if given is None else _cast(items[given].combine_chunks(), old.type, name)
    source = np.arange(rows.count)
    source[rows.given] = len(old) + np.arange(len(items))
    # What was known of an item stays where the new table does not speak of it.
    if name not in items.column_names:
        known = rows.given[rows.given < len(old)]
        source[known] = known
    return pa.concat_arrays([old.combine_chunks(), new]).take(pa.array(source))


def _cast(column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"--items: column {name!r} is {column.type}, the catalogue has {kind}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m trainer.extend",
        description="Adds, changes and removes items of an exported model, by their features and without training.",
        epilog="example, and then its index, from the one there is if that is --updatable:\n"
        "  python -m trainer.extend --model run/export --items new.parquet --output run/export-2\n"
        "  python -m beam_index.build --model run/export-2 --base_index index --updatable --output index-2",
    )
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the exported model, run/export")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the export to write")
    parser.add_argument("--items", type=pathlib.Path, help="parquet file of new and changed items, with their features")
    parser.add_argument("--remove", type=pathlib.Path, help="text file of ids to remove, one a line")
    return parser


def _read(path: pathlib.Path | None, flag: str, reader: Callable[[pathlib.Path], Any]) -> Any:
    if path is None:
        return None
    try:
        return reader(path)
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise UserError(f"{flag} {path} cannot be read: {error}") from error


def main(argv: Sequence[str]) -> None:
    """Writes the export and says what has changed."""
    arguments = _parser().parse_args(argv)
    if arguments.items is None and arguments.remove is None:
        raise UserError("nothing to do: give --items, --remove or both")
    items = _read(arguments.items, "--items", pq.read_table)
    removed = _read(arguments.remove, "--remove", lambda path: path.read_text(encoding="utf-8").splitlines()) or []
    changes = extend(arguments.model, items, [item for item in removed if item], arguments.output)
    print(f"{arguments.output}: {changes.added} items added, {changes.changed} changed, {changes.removed} removed")


if __name__ == "__main__":
    run_cli(main)
