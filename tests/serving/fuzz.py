"""Sends hostile Predict requests to a server, and good ones in between: `python -m tests.serving.fuzz`.

The command makes a small servable, serves it in a process of its own, and fails where a request was answered
with a status that blames the server, where a good request was answered otherwise than before, or where the
server is gone. It prints what was answered and how the server's memory stood.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import pathlib
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent import futures

import trainer  # noqa: F401  # before TensorFlow: it chooses the Keras

# isort: split
import grpc
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc

from protos.errors import run_cli
from tests.serving.hostile import HostileRequests, Request, Signatures

PREDICT = "/tensorflow.serving.PredictionService/Predict"
# Statuses that say that the request is wrong, or more than the server gives.
KIN = {"OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED"}
KIN |= {"UNIMPLEMENTED"}
TIMEOUT_SECONDS = 60
NUM_PROBES = 20
PROBE_EVERY = 50


@dataclasses.dataclass
class Report:
    """What came of it.

    Attributes:
      statuses: how many requests were answered with each status.
      faults: by fault, how many requests had it.
      bad: the faults, status, message and bytes of requests answered with a status outside KIN.
      probes: good requests asked in between.
      changed: how many of them were answered otherwise than at the start.
    """

    statuses: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    faults: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    bad: list[tuple[str, str, str, bytes]] = dataclasses.field(default_factory=list)
    probes: int = 0
    changed: int = 0


class Fuzz:
    """Fuzzes one model of one server from several threads."""

    def __init__(self, channel: grpc.Channel, model: str, ids: Sequence[str], seed: int) -> None:
        """Asks the server for the model's signatures, and for the answers to good requests."""
        self._channel, self._model, self._ids, self._seed = channel, model, ids, seed
        self._signatures = read_signatures(channel, model)
        self._call = channel.unary_unary(PREDICT)
        self._lock = threading.Lock()
        self.report = Report()
        make = self._requests(seed)
        self._probes = [make.good() for _ in range(NUM_PROBES)]
        self._answers = [self._answer(probe) for probe in self._probes]

    def run(self, requests: int, threads: int = 4) -> Report:
        """Sends so many hostile requests, others each time, a good one after every PROBE_EVERY; the report of all."""
        shares = [requests // threads + (thread < requests % threads) for thread in range(threads)]
        with futures.ThreadPoolExecutor(threads) as pool:
            list(pool.map(self._send, shares, range(self._seed + 1, self._seed + 1 + threads)))
        self._seed += threads
        return self.report

    def _requests(self, seed: int) -> HostileRequests:
        return HostileRequests(seed, self._model, self._signatures, self._ids)

    def _send(self, count: int, seed: int) -> None:
        make = self._requests(seed)
        for number in range(count):
            wrong, data = make.next()
            status, message = self._status(data)
            with self._lock:
                self.report.statuses[status] += 1
                self.report.faults.update(wrong.split("+"))
                if status not in KIN:
                    self.report.bad.append((wrong, status, message, data))
            if number % PROBE_EVERY == 0:
                self._probe(make.random.randrange(NUM_PROBES))

    def _status(self, data: bytes) -> tuple[str, str]:
        try:
            self._call(data, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""

    def _probe(self, number: int) -> None:
        same = self._answer(self._probes[number]) == self._answers[number]
        with self._lock:
            self.report.probes += 1
            self.report.changed += not same

    def _answer(self, request: Request) -> bytes:
        """The answer's bytes, with its outputs in one order, which protobuf does not promise."""
        data = self._call(request.SerializeToString(), timeout=TIMEOUT_SECONDS)
        return predict_pb2.PredictResponse.FromString(data).SerializeToString(deterministic=True)


def read_signatures(channel: grpc.Channel, model: str) -> Signatures:
    """The signatures that the server says the model has."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = model
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(request, timeout=TIMEOUT_SECONDS).metadata["signature_def"].Unpack(signatures)
    return signatures.signature_def


def resident_mib(pid: int) -> float:
    """What the process has in memory."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def write_servable(directory: pathlib.Path) -> list[str]:
    """Writes version 1 of a small servable under the directory's `base` and returns its item ids."""
    from serving.export import ExportOptions, export
    from tests.serving.worlds import SPECS, UNPRUNED
    from tests.support.exports import item_ids, write_tiny_export
    from tests.support.indexes import write_tiny_index

    spec = SPECS["residual"]
    model = write_tiny_export(directory / "model", spec)
    index = write_tiny_index(directory / "index", model, UNPRUNED)
    export(ExportOptions(model, index, directory / "base" / "1"))
    return list(item_ids(spec))


def main(argv: Sequence[str]) -> int:
    """Fuzzes and prints; returns 1 where anything is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.serving.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    flags = parser.parse_args(argv)
    from tests.support.server_process import server_process

    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        ids = write_servable(directory)
        with (
            server_process(directory, "--model_base_path", directory / "base") as (process, port),
            grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_receive_message_length", -1)]) as channel,
        ):
            return _fuzz(Fuzz(channel, "sparcode", ids, flags.seed), flags.requests, process.pid)


def _fuzz(fuzz: Fuzz, requests: int, pid: int, parts: int = 10) -> int:
    memory, begin = [], time.monotonic()
    for part in range(parts):
        fuzz.run(requests // parts)
        memory.append(round(resident_mib(pid)))
        print(f"part {part + 1} of {parts}: {memory[-1]} MiB resident", file=sys.stderr, flush=True)
    report = fuzz.report
    figures = {
        "requests": sum(report.statuses.values()),
        "statuses": dict(report.statuses.most_common()),
        "faults": dict(report.faults.most_common()),
        "good_requests_between": report.probes,
        "answered_otherwise": report.changed,
        "rss_mib": memory,
        "seconds": round(time.monotonic() - begin),
    }
    print(json.dumps(figures, indent=1))
    for wrong, status, message, data in report.bad[:20]:
        print(f"{status} for {wrong}: {message[:300]!r}; {len(data)} bytes: {data[:200].hex()}", file=sys.stderr)
    return int(bool(report.bad or report.changed))


if __name__ == "__main__":
    run_cli(main)
