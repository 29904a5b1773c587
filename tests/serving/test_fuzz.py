"""A server of a real servable under hostile requests; `python -m tests.serving.fuzz` sends many more."""

import pathlib
import subprocess
import sys

import grpc
import pytest

from serving.server import EmbeddedServer
from tests.serving.fuzz import Fuzz, read_signatures, write_servable
from tests.serving.hostile import DAMAGES, FAULTS, HostileRequests

REQUESTS = 3000


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """A channel to a server of a model, and its item ids."""
    directory = tmp_path_factory.mktemp("fuzzed")
    ids = write_servable(directory)
    with (
        EmbeddedServer(directory / "base", "toy", port=0) as server,
        grpc.insecure_channel(server.address, [("grpc.max_receive_message_length", -1)]) as channel,
    ):
        yield channel, ids


def test_hostile_requests_are_refused_and_change_no_answer(fuzzed):
    channel, ids = fuzzed
    report = Fuzz(channel, "toy", ids, seed=1).run(REQUESTS)
    assert report.bad == []
    assert report.changed == 0
    assert report.probes >= REQUESTS // 50
    assert sum(report.statuses.values()) == REQUESTS
    # It went as far as it was meant to: everything was tried, and much of it was no longer a request at all.
    assert set(report.faults) == {fault.__name__ for fault in (*FAULTS, *DAMAGES)}
    assert report.statuses["OK"] > REQUESTS // 20
    assert report.statuses["INVALID_ARGUMENT"] > REQUESTS // 4


def test_the_same_seed_makes_the_same_requests(fuzzed):
    channel, ids = fuzzed
    signatures = read_signatures(channel, "toy")
    first, second = (HostileRequests(7, "toy", signatures, ids) for _ in range(2))
    assert [first.next() for _ in range(50)] == [second.next() for _ in range(50)]


def test_the_command_can_be_started():
    command = [sys.executable, "-m", "tests.serving.fuzz", "--help"]
    found = subprocess.run(command, cwd=pathlib.Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "--requests" in found.stdout
