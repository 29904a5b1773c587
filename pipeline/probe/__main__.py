"""`python -m pipeline.probe`: asks recorded queries of every track, and exports what it sees to Prometheus."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
import signal
import threading
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, start_http_server

from pipeline.probe.asking import Asking, Track
from pipeline.probe.metrics import ProbeMetrics
from protos.command_line import CommandParser
from protos.errors import UserError, run_cli
from serving.client import DEFAULT_MODEL, DEFAULT_TIMEOUT_SECONDS, Query, RecommendClient
from serving.recorded import read_recorded

DEFAULT_PORT = 9100
_MAX_QUERIES = 2000


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="python -m pipeline.probe",
        description="Ask recorded queries of every track, steadily and until SIGTERM, and export to Prometheus what"
        " only a client can know: its latency, empty answers, unknown codes, and when the version that answers was"
        " published.",
        epilog="example: python -m pipeline.probe --track stable=dns:///sparcode-server:8500 --queries queries.jsonl",
    )
    parser.add_argument(
        "--track",
        action="append",
        default=[],
        metavar="NAME=ADDRESS",
        help="asked always; may be given again; ADDRESS is host:port or dns:///host:port",
    )
    parser.add_argument(
        "--optional_track",
        action="append",
        default=[],
        metavar="NAME=ADDRESS",
        help="asked while the host's name is known, such as that of a canary's service; may be given again",
    )
    parser.add_argument(
        "--queries",
        type=pathlib.Path,
        required=True,
        metavar="FILE",
        help="JSON as serving.client takes it, or an export's queries.parquet",
    )
    parser.add_argument(
        "--published",
        type=pathlib.Path,
        metavar="DIR",
        help="directory of the published versions, whose manifests' times say how old is what answers",
    )
    parser.add_argument("--rate", type=float, default=2.0, help="requests a second and track (default: %(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="of the metrics (default: %(default)s)")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen at (default: %(default)s)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="what servers call it (default: %(default)s)")
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_SECONDS, help="seconds (default: %(default)s)")
    return parser


@contextlib.contextmanager
def probing(
    tracks: Sequence[Track], queries: Sequence[Query], metrics: ProbeMetrics, flags: argparse.Namespace
) -> Iterator[None]:
    """Asks all tracks while the block runs."""
    with contextlib.ExitStack() as stack:
        threads = []
        for track in tracks:
            client = stack.enter_context(RecommendClient(track.address, flags.model, flags.timeout))
            threads.append(Asking(track, client, queries, flags.rate, metrics))
            threads[-1].start()
        yield
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join()


def main(argv: Sequence[str]) -> None:
    """Asks until SIGTERM or SIGINT."""
    flags = _parser().parse_args(argv)
    tracks = _tracks(flags)
    if flags.rate <= 0:
        raise UserError(f"--rate {flags.rate}: expected more than 0")
    queries = read_recorded(flags.queries, _MAX_QUERIES)
    registry = CollectorRegistry()
    metrics = ProbeMetrics(registry, flags.published)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = _listen(flags, registry)
    with probing(tracks, queries, metrics, flags):
        names = ", ".join(track.name for track in tracks)
        print(f"probing {names} with {len(queries)} queries; metrics at {flags.host}:{server.server_port}", flush=True)
        stop.wait()
    server.shutdown()


def _tracks(flags: argparse.Namespace) -> list[Track]:
    tracks = [
        _track(text, flag, optional)
        for flag, texts, optional in (("--track", flags.track, False), ("--optional_track", flags.optional_track, True))
        for text in texts
    ]
    names = [track.name for track in tracks]
    if not tracks or len(set(names)) < len(names):
        found = f"twice the track {max(names, key=names.count)}" if tracks else "no track"
        raise UserError(f"found {found}; expected --track NAME=ADDRESS, each name once")
    return tracks


def _track(text: str, flag: str, optional: bool) -> Track:
    name, _, address = text.partition("=")
    if not name or not address.rpartition(":")[2].isdecimal():
        raise UserError(f"{flag} {text}: expected NAME=ADDRESS, such as stable=dns:///sparcode-server:8500")
    return Track(name, address, optional)


def _listen(flags: argparse.Namespace, registry: CollectorRegistry):
    try:
        return start_http_server(flags.port, flags.host, registry)[0]
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--port {flags.port} of {flags.host} cannot be had: {reason}; give another") from error


if __name__ == "__main__":
    run_cli(main)
