"""The load test: when requests come, what they ask, and what their times say."""

import asyncio
import itertools
import json
import os
import time

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from protos.errors import UserError
from serving.client import AsyncRecommendClient, Query
from serving.loadtest.__main__ import main
from serving.loadtest.mix import Mix, Users, draw, read_users
from serving.loadtest.open_loop import arrivals, run
from serving.server import EmbeddedServer
from tests.serving.test_client_channel import Scripted, listening
from tests.support.contract_model import NUM_ITEMS, ContractModel


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """What a load test reads of an export: queries, one of them without history, and items with categories."""
    directory = tmp_path_factory.mktemp("export")
    queries = {"history": [["1", "2"], None, ["3"]], "relevant": [["4"], [], []]}
    pq.write_table(pa.table(queries), directory / "queries.parquet")
    items = {"item_id": [str(item) for item in range(NUM_ITEMS)], "genres": [["even"], ["odd"]] * (NUM_ITEMS // 2)}
    pq.write_table(pa.table(items), directory / "items.parquet")
    return directory


def test_users_are_those_of_the_export(export):
    users = read_users(export, "genres")
    assert users.queries == [Query(["1", "2"]), Query([]), Query(["3"])]
    assert users.categories == ["even", "odd"]
    assert read_users(export, "mood").categories == []


def test_further_columns_of_queries_are_features(export, tmp_path):
    queries = {"history": [["1"], None], "relevant": [["4"], []], "device": ["tv", None]}
    pq.write_table(pa.table(queries), tmp_path / "queries.parquet")
    (tmp_path / "items.parquet").write_bytes((export / "items.parquet").read_bytes())
    expected = [Query(["1"], features={"device": "tv"}), Query([], features={"device": None})]
    assert read_users(tmp_path, "genres").queries == expected


def test_an_export_that_is_none(tmp_path):
    with pytest.raises(UserError, match=r"queries\.parquet is not there; expected the directory of an exported model"):
        read_users(tmp_path, "genres")


def test_arrivals_come_at_the_rate():
    due = list(arrivals(rate=200, seconds=50, seed=3))
    assert due == sorted(due) == list(arrivals(200, 50, 3))
    assert due[0] > 0
    assert due[-1] < 50
    assert 9_500 < len(due) < 10_500  # five standard deviations


USERS = Users([Query(["1", "2", "3"]), Query(["4"])], [str(item) for item in range(50)], ["a", "b"])


def drawn(mix, count):
    return list(itertools.islice(draw(USERS, mix), count))


def test_the_mix_has_its_shares():
    requests = drawn(Mix({1: 0.5, 4: 0.5}, filtered_share=0.5, new_user_share=0.2, unknown_item_share=0.1), 2000)
    queries = [query for request in requests for query in request]
    assert {len(request) for request in requests} == {1, 4}
    for share, has in (
        (0.5, lambda query: query.k is not None),
        (0.2, lambda query: not query.history),
        (0.08, lambda query: "?" in query.history),
    ):
        assert sum(map(has, queries)) / len(queries) == pytest.approx(share, abs=0.04)
    assert not any(query.allow_categories and query.deny_categories for query in queries)
    assert {len(query.exclude_ids) for query in queries} == set(range(21))


def test_the_same_seed_draws_the_same_requests():
    assert drawn(Mix(seed=1), 50) == drawn(Mix(seed=1), 50) != drawn(Mix(seed=2), 50)


def test_without_filters_queries_are_as_they_were():
    requests = drawn(Mix({1: 1}, filtered_share=0, new_user_share=0, unknown_item_share=0), 50)
    assert all(query in USERS.queries for (query,) in requests)


def measure(port, due):
    async def go():
        async with AsyncRecommendClient(f"127.0.0.1:{port}", timeout=60) as client:
            return await run(client, itertools.repeat([Query(["1"])]), iter(due))

    return asyncio.run(go())


class OneStall(Scripted):
    """Takes one request at a time, and a second for the first."""

    def _answer(self, request, context):
        with self._lock:
            first = not self.attempts
            self.attempts.append(0)
            if first:
                time.sleep(1)
        context.abort(grpc.StatusCode.INTERNAL, "no model")


def test_a_stall_is_seen_by_all_that_were_due_in_it():
    """A request a 50th of a second: that due at t waits at least 1 - t, though it was not even sent before."""
    with listening(OneStall("a")) as (port,):
        outcome = measure(port, [place / 50 for place in range(50)])
    assert outcome.requests == 50
    assert outcome.milliseconds(50) > 400
    assert outcome.milliseconds(90) > 800


def test_failures_are_counted_by_their_code():
    with listening(Scripted("a", [grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED] * 5)) as (port,):
        outcome = measure(port, [0] * 10)
    assert outcome.failures == {"INTERNAL": 5, "RESOURCE_EXHAUSTED": 5}
    assert (outcome.requests, outcome.failed, outcome.queries) == (10, 10, 0)


def test_the_command_measures_a_server(contract_models, export, tmp_path, capsys):
    with EmbeddedServer(contract_models[ContractModel], port=0) as server:
        flags = ["--address", server.address, "--timeout", "30", "--export", export, "--rate", "40", "--seconds", "2"]
        flags += ["--server_pid", os.getpid(), "--json", tmp_path / "figures.json"]
        assert main([str(flag) for flag in flags]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["failed"] == figures["swaps"] == 0
    assert figures["requests"] == figures["versions"]["1"] == len(list(arrivals(40, 2, 0)))
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"] <= figures["p999_ms"] <= figures["max_ms"]
    assert figures["rss_mib_start"] > 10 < figures["rss_mib_end"]
    assert "0 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--rate", "0"], "--rate 0.0: expected more than 0"), (["--export", "gone"], "queries.parquet is not there")],
)
def test_the_command_says_what_is_wrong(export, flags, message):
    with pytest.raises(UserError, match=message):
        main(["--export", str(export), *flags])


def test_batch_sizes_that_are_none(export, capsys):
    with pytest.raises(SystemExit):
        main(["--export", str(export), "--batch_sizes", "0:1"])
    assert "sizes are at least 1" in capsys.readouterr().err
