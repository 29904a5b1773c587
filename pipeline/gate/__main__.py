"""`python -m pipeline.gate`: may the canary be promoted? 0 yes, 1 no and why, 2 it could not be measured."""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from pipeline.gate.asking import Comparison
from pipeline.gate.latency import Estimate, p99
from pipeline.gate.measure import Effort, measure
from pipeline.gate.rules import Check, Limits, check
from protos.artifact import writing
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from serving.client import DEFAULT_MODEL, DEFAULT_TIMEOUT_SECONDS, RecommendClient
from serving.recorded import read_recorded

_HELP = {
    "k": "the first items of an answer that are compared",
    "min_overlap": "mean share of them that both servers return, at least",
    "max_p99_ratio": "the canary's p99 in multiples of stable's, at most",
    "max_p99_ms": "the canary's p99 in milliseconds, at most",
    "max_failed": "requests to the canary that may fail",
    "max_more_empty": "by how much its share of empty answers may be above stable's",
    "min_requests": "to each server, at least",
    "max_requests": "to each server, at most; more than the least are sent where noise leaves the answer open",
    "seed": "of the order of the requests",
}


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m pipeline.gate",
        description="Ask a canary and what is stable the same recorded queries, in turns, and say whether the canary"
        " may take its place: failures, p99, overlap of the answers, empty answers. Exit code 0: yes; 1: no; 2: it"
        " could not be measured.",
        epilog="example: python -m pipeline.gate --stable 127.0.0.1:8500 --canary 127.0.0.1:8502 --queries"
        " run/export/queries.parquet",
    )
    for side in ("stable", "canary"):
        parser.add_argument(f"--{side}", required=True, metavar="ADDRESS", help="host:port, or dns:///host:port")
    parser.add_argument(
        "--queries",
        type=pathlib.Path,
        required=True,
        metavar="FILE",
        help="an export's queries.parquet, or JSON as serving.client takes it",
    )
    parser.add_argument("--max_queries", type=int, default=500, help="asked of the file (default: %(default)s)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="what servers call it (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_SECONDS, help="seconds (default: %(default)s)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="where the verdict goes too")
    for field in (*dataclasses.fields(Limits), *dataclasses.fields(Effort)):
        text = f"{_HELP[field.name]} (default: %(default)s)"
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default, metavar="N", help=text)
    return parser


def main(argv: Sequence[str]) -> int:
    """Measures, prints, and returns 1 where the canary must not be promoted."""
    flags = _parser().parse_args(argv)
    limits, effort = (_fields(kind, flags) for kind in (Limits, Effort))
    _require_sense(flags)
    queries = read_recorded(flags.queries, flags.max_queries)
    with (
        RecommendClient(flags.stable, flags.model, flags.timeout) as stable,
        RecommendClient(flags.canary, flags.model, flags.timeout) as canary,
    ):
        compared, times = measure(stable, canary, queries, limits, effort)
    checks = list(check(compared, times, limits))
    print(table(compared, checks))
    if flags.json:
        _write(flags.json, compared, times, checks)
    return 0 if all(each.passed for each in checks) else 1


def _fields(kind: type, flags: argparse.Namespace) -> Limits | Effort:
    return kind(**{field.name: getattr(flags, field.name) for field in dataclasses.fields(kind)})


def _require_sense(flags: argparse.Namespace) -> None:
    # Fewer have no p99 to speak of: one or two requests would make it.
    least = {"min_requests": 200, "max_requests": flags.min_requests, "max_queries": 1, "k": 1}
    for name, at_least in least.items():
        if getattr(flags, name) < at_least:
            raise UserError(f"--{name} {getattr(flags, name)}: expected at least {at_least}")


def table(compared: Comparison, checks: Iterable[Check]) -> str:
    """The verdict for people."""
    versions = [" ".join(map(str, side.versions)) or "?" for side in (compared.stable, compared.canary)]
    lines = [
        f"canary, version {versions[1]}, against stable, version {versions[0]}: {compared.rounds} requests to each",
        f"  {'':<16}{'stable':>10}{'canary':>10}{'limit':>10}",
    ]
    for each in checks:
        stable = "" if each.stable is None else f"{each.stable:.4g}"
        verdict = "ok" if each.passed else "REFUSED"
        row = f"  {each.name:<16}{stable:>10}{each.canary:>10.4g}{each.limit:>10.4g}"
        lines.append(f"{row}  {verdict:<8} {each.note}")
    refused = [each.name for each in checks if not each.passed]
    return "\n".join([*lines, f"refused: {', '.join(refused)}" if refused else "passed: it may be promoted"])


def _write(path: pathlib.Path, compared: Comparison, times: Mapping[str, Estimate], checks: list[Check]) -> None:
    sides = {
        side.name: {
            "address": side.client.address,
            "versions": sorted(side.versions),
            "failures": dict(side.failures),
            "p99_ms": p99(side.seconds) * 1000,
        }
        for side in (compared.stable, compared.canary)
    }
    found = {
        "passed": all(each.passed for each in checks),
        "requests": compared.rounds,
        **sides,
        "checks": [dataclasses.asdict(each) for each in checks],
        "estimates": {name: dataclasses.asdict(found) for name, found in times.items()},
    }
    with writing(path):
        path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    run_cli(main)
