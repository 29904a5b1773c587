"""`python -m serving.client`: asks a server and prints what it answers."""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grpc

from protos.command_line import CommandParser
from protos.errors import UserError
from serving.client.answers import Encoding, Recommendation
from serving.client.channel import PredictError
from serving.client.flags import add_connection_flags, connection
from serving.client.json_input import read_queries
from serving.client.queries import Query, QueryError
from serving.client.sync import RecommendClient
from serving.wire import TensorError

_SIGNATURES = ("recommend", "explain", "encode")
_SHOWN = 10
_BATCH = 32
_STARTING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND)
_PAUSE = 0.2


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m serving.client",
        description=(
            "Ask a served SparCode model what it recommends to users. Needs no TensorFlow. The server is python -m"
            " serving.server or the stock tensorflow/serving image."
        ),
        epilog='examples: python -m serving.client --history "1,260,527" --k 5;'
        ' echo \'{"history": ["1", "260"], "k": 5, "deny_categories": ["Horror"]}\' | python -m serving.client'
        " --json_input - --json",
    )
    add_connection_flags(parser)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument(
        "--history",
        action="append",
        metavar="IDS",
        help='public item ids, oldest first, commas between; "" is a new user; give it again to ask for more users',
    )
    asked.add_argument(
        "--json_input",
        metavar="FILE",
        help="a JSON list of objects, or an object a line, - being the standard input; keys: history, k, exclude_ids,"
        " allow_categories, deny_categories, include_seen, and features, an object by their names",
    )
    parser.add_argument(
        "--signature",
        choices=_SIGNATURES,
        default="recommend",
        help="recommend; explain: also what each token adds; encode: codes and tokens (default: %(default)s)",
    )
    parser.add_argument(
        "--k", type=int, help=f"items to show of those returned (default: {_SHOWN} of a --history, else all)"
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="so long wait for a server that is starting or still loads the model (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list, one object a query, not a table")
    return parser


def main(argv: Sequence[str]) -> None:
    """Asks and prints."""
    flags = _parser().parse_args(argv)
    if flags.k is not None and flags.k < 1:
        raise UserError(f"--k {flags.k}: expected at least 1")
    asked = _asked(flags)
    with RecommendClient(*connection(flags)) as client:
        try:
            answers = _ask_patiently(client, flags.signature, [query for _, query in asked], flags.wait)
        except (PredictError, QueryError, TensorError) as error:
            raise UserError(str(error)) from error
    shown = [_first(answer, flags.k or (_SHOWN if flags.history else None)) for answer in answers]
    if flags.json or flags.signature != "recommend":
        rows = [{**entry, **dataclasses.asdict(answer)} for (entry, _), answer in zip(asked, shown, strict=True)]
        print(json.dumps(rows, indent=1))
    else:
        pairs = zip(asked, shown, strict=True)
        print("\n\n".join("\n".join(_table(query.history, answer)) for (_, query), answer in pairs))


def _asked(flags: argparse.Namespace) -> list[tuple[Mapping[str, Any], Query]]:
    """What was asked, as it is repeated in JSON, and as a query."""
    if flags.history:
        histories = [[item.strip() for item in history.split(",") if item.strip()] for history in flags.history]
        return [({"history": history}, Query(history)) for history in histories]
    if flags.json_input == "-":
        return read_queries(sys.stdin.read(), "standard input")
    try:
        return read_queries(pathlib.Path(flags.json_input).read_text(), flags.json_input)
    except UnicodeDecodeError as error:
        raise UserError(f"--json_input {flags.json_input} is no text: {error}") from error
    except OSError as error:
        raise UserError(f"--json_input {flags.json_input}: {error.strerror}; expected a file of JSON, or -") from error


def _ask_patiently(
    client: RecommendClient, signature: str, queries: Sequence[Query], seconds: float
) -> list[Recommendation | Encoding]:
    """As `_ask`; for some seconds a server that is not there yet, or has not loaded the model, is asked again."""
    until = time.monotonic() + seconds
    while True:
        try:
            return _ask(client, signature, queries)
        except PredictError as error:
            if error.code not in _STARTING or time.monotonic() >= until:
                raise
            time.sleep(_PAUSE)


def _ask(client: RecommendClient, signature: str, queries: Sequence[Query]) -> list[Recommendation | Encoding]:
    ask = getattr(client, signature)
    return [answer for start in range(0, len(queries), _BATCH) for answer in ask(queries[start : start + _BATCH])]


def _first(answer: Recommendation | Encoding, k: int | None) -> Recommendation | Encoding:
    cut = {name: getattr(answer, name)[:k] for name in ("item_ids", "scores", "contributions") if hasattr(answer, name)}
    return dataclasses.replace(answer, **cut)


def _table(history: Sequence[str], answer: Recommendation) -> Iterator[str]:
    yield f"history: {', '.join(history) or '(none)'}    answered by version {answer.model_version}"
    width = max(map(len, ("item", *answer.item_ids)))
    yield f"rank  {'item':<{width}}  {'score':>10}"
    for rank, (item, score) in enumerate(zip(answer.item_ids, answer.scores, strict=True), start=1):
        yield f"{rank:>4}  {item:<{width}}  {score:>10.4f}"
    if not answer.item_ids:
        yield "      no item scores above zero"
    tokens = zip(answer.codes, answer.keys, answer.fallback, strict=False)  # the keys of events come after
    yield "codes: " + "  ".join(
        f"{'/'.join(map(str, code))} -> list {key}{' (its own has none)' if fell else ''}" for code, key, fell in tokens
    )
    if events := [key for key in answer.keys[len(answer.codes) :] if key >= 0]:
        yield "events: " + "  ".join(f"list {key}" for key in events)
