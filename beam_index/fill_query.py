"""`python -m beam_index.fill_query`: the search request of one query, to send to Elasticsearch or OpenSearch."""

from __future__ import annotations

import argparse
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import tensorflow as tf

from beam_index.one_query import one_query
from beam_index.plan import EXPORT_FORMAT
from beam_index.search_engine.query import DEFAULT_SIZE, Query
from protos.artifact import read_manifest
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli

_DESCRIPTION = """\
Prints the body of the search request that ranks a search engine's items for one query, which is
given as a history, or as the keys and weights that the query model gave for it.
"""
_EPILOG = """\
examples:
  python -m beam_index.fill_query --export engine --model run/export --history 1,260,1196
  python -m beam_index.fill_query --export engine --model run/export --history 1,260 \\
      --features '{"rating": [4.5, null], "job": "cook"}'
  python -m beam_index.fill_query --export engine --keys 12,70,-1 --weights 1,1,0 --seen 1,260
"""
_Value = TypeVar("_Value")
NOTHING: Mapping[str, Any] = MappingProxyType({})


def of_history(
    query: Query, model: pathlib.Path, history: Sequence[str], size: int, features: Mapping[str, Any] = NOTHING
) -> dict[str, Any]:
    """The request of a history, whose items are not to be returned.

    Args:
      query: of an export for search engines.
      model: directory of the exported model that it was made from.
      history: item ids, oldest first.
      size: most items to return.
      features: what the query brings beside its history, by name: of events a list, a value for each; what is
        left out or None is missing.

    Raises:
      UserError: the model knows no feature of a name, or a value contradicts what is declared of it.
    """
    inputs = {name: tf.constant(array) for name, array in one_query(model, history, features).items()}
    outputs = tf.saved_model.load(str(model / "query")).signatures["serving_default"](**inputs)
    keys, weights, distances = (outputs[name][0].numpy() for name in ("keys", "weights", "distances"))
    return query.fill(query.nearest_listed(keys.tolist(), distances), weights.tolist(), history, size)


def main(argv: Sequence[str]) -> None:
    """Prints the request."""
    known = _parse(argv)
    query = Query.load(known.export)
    if known.history is not None:
        _require_same_model(query, known)
        body = of_history(query, known.model, known.history, known.size, known.features)
    else:
        body = query.fill(known.keys, known.weights, known.seen, known.size)
    print(json.dumps(body, ensure_ascii=False))


def _require_same_model(query: Query, known: argparse.Namespace) -> None:
    """Keys of another model name other lists."""
    found = read_manifest(known.model, EXPORT_FORMAT)["fingerprint"]
    if found != query.model_fingerprint:
        raise UserError(
            f"{known.export} was made from another model: it names {query.model_fingerprint[:12]}, {known.model} is"
            f" {found[:12]}; run python -m beam_index.to_elasticsearch with this model and its index"
        )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = CommandParser(
        prog="python -m beam_index.fill_query",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    directory = pathlib.Path
    parser.add_argument(
        "--export", type=directory, required=True, help="what python -m beam_index.to_elasticsearch wrote"
    )
    parser.add_argument("--model", type=directory, help="the exported model, for --history")
    parser.add_argument("--history", type=_listed(str), metavar="ID,...", help="item ids, oldest first; not returned")
    parser.add_argument(
        "--features",
        type=_object,
        default=NOTHING,
        metavar="JSON",
        help="what the query brings beside --history, by name: of events a list, a value for each; null is missing",
    )
    parser.add_argument("--keys", type=_listed(int), metavar="KEY,...", help="of the query; -1 is no key")
    parser.add_argument("--weights", type=_listed(float), metavar="WEIGHT,...", help="one a key")
    parser.add_argument("--seen", type=_listed(str), default=[], metavar="ID,...", help="item ids not to return")
    parser.add_argument("--size", type=int, default=DEFAULT_SIZE, help="most items to return (default %(default)s)")
    known = parser.parse_args(argv)
    by_history, by_keys = (known.model, known.history), (known.keys, known.weights)
    if None in (by_history if known.history is not None else by_keys) or None not in (known.history, known.keys):
        parser.error("give --model and --history, or --keys and --weights")
    return known


def _listed(kind: Callable[[str], _Value]) -> Callable[[str], list[_Value]]:
    def read(text: str) -> list[_Value]:
        return [kind(part) for part in text.split(",") if part]

    read.__name__ = f"list of {kind.__name__}"  # what argparse calls it in errors
    return read


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(text)
    return found


_object.__name__ = "JSON object"  # what argparse calls it in errors


if __name__ == "__main__":
    run_cli(main)
