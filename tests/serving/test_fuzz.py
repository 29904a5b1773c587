"""A server of a real servable under hostile requests; `python -m tests.serving.fuzz` sends many more."""

import grpc
import pytest

from serving.server import EmbeddedServer
from tests.serving.fuzz import Fuzz, read_signatures
from tests.serving.hostile import DAMAGES, FAULTS, HostileRequests
from tests.support.exports import item_ids

REQUESTS = 1500


@pytest.fixture(scope="module")
def fuzzed(world):
    """The model, and a channel to a server of it."""
    made = world(sums="completed")
    with (
        EmbeddedServer(made.directory.parent, "toy", port=0) as server,
        grpc.insecure_channel(server.address, [("grpc.max_receive_message_length", -1)]) as channel,
    ):
        yield made, channel


def test_hostile_requests_are_refused_and_change_no_answer(fuzzed):
    made, channel = fuzzed
    report = Fuzz(channel, "toy", item_ids(made.spec), seed=1).run(REQUESTS)
    assert report.bad == []
    assert report.changed == 0
    assert report.probes >= REQUESTS // 50
    assert sum(report.statuses.values()) == REQUESTS
    # It went as far as it was meant to: everything was tried, and much of it was no longer a request at all.
    assert set(report.faults) == {fault.__name__ for fault in (*FAULTS, *DAMAGES)}
    assert report.statuses["OK"] > REQUESTS // 20
    assert report.statuses["INVALID_ARGUMENT"] > REQUESTS // 4


def test_the_same_seed_makes_the_same_requests(fuzzed):
    made, channel = fuzzed
    signatures = read_signatures(channel, "toy")
    first, second = (HostileRequests(7, "toy", signatures, item_ids(made.spec)) for _ in range(2))
    assert [first.next() for _ in range(50)] == [second.next() for _ in range(50)]
