"""Shards of one index, each served by a server of its own, and the client that asks them all."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket

import grpc
import pytest

from protos.artifact import MANIFEST
from protos.errors import UserError
from serving.client import PredictError, Query, RecommendClient, ShardedClient
from serving.export import EXTRA
from serving.listening import format_address
from serving.retrieval import AnswerOptions
from serving.server import EmbeddedServer
from serving.shards import Shard
from tests.serving.worlds import PRUNED, SUMS, ids_of
from tests.support.exports import item_ids, random_histories

COUNT = 3
ANSWERS = AnswerOptions(default_k=7)
TIMEOUT = 30.0


def sharded_client(*addresses: str) -> ShardedClient:
    return ShardedClient([RecommendClient(address, timeout=TIMEOUT) for address in addresses])


@pytest.fixture(scope="module")
def served(world):
    """Makes what serves all shards: the servers, the index in one piece, and histories with its answers."""
    with contextlib.ExitStack() as stack:

        def serve(sums):
            whole = world("product", PRUNED, sums, ANSWERS)
            parts = [world("product", PRUNED, sums, ANSWERS, Shard(number, COUNT)) for number in range(COUNT)]
            servers = [stack.enter_context(EmbeddedServer(part.directory.parent, port=0)) for part in parts]
            histories = [[], *random_histories(whole.spec, 15, seed=8), item_ids(whole.spec)]
            return [server.address for server in servers], histories, whole.ask(histories), parts, whole

        yield serve


@pytest.fixture(scope="module")
def sparse(served):
    return served("sparse")


@pytest.mark.parametrize("sums", SUMS)
def test_all_shards_answer_what_one_index_answers(served, sums):
    addresses, histories, expected, *_ = served(sums)
    with sharded_client(*addresses) as client:
        answer = client.recommend(histories)
    assert answer.missing_shards == {}
    for query, found in enumerate(answer.answers):
        assert list(found.item_ids) == ids_of(expected, query)
        tolerance = 1e-6 if sums == "rescored" else 0  # a matrix product has other last bits at other widths
        assert found.scores == pytest.approx(expected["scores"][query, : len(found.scores)].tolist(), rel=tolerance)
        for name in ("codes", "keys", "fallback"):
            assert json.dumps(getattr(found, name)) == json.dumps(expected[name][query].tolist())
    assert expected["fallback"].any()
    assert (expected["valid"].sum(axis=1) == ANSWERS.default_k).any()


@pytest.mark.parametrize("sums", SUMS)
def test_choices_and_explanations_go_to_all_shards(served, sums):
    addresses, histories, _, _, whole = served(sums)
    queries = [
        Query(histories[3], k=0),
        Query(histories[4], k=3, include_seen=True),
        Query(histories[5], k=25, exclude_ids=["item-1", "item-20", "item-39"]),
        Query(histories[6], k=10**6, allow_categories=["Comedy"]),
        Query(histories[7], deny_categories=["Comedy"]),
    ]
    with sharded_client(*addresses) as client, EmbeddedServer(whole.directory.parent, port=0) as server:
        found = client.explain(queries)
        assert [answer.item_ids for answer in client.recommend(queries).answers] == [a.item_ids for a in found.answers]
        with RecommendClient(server.address, timeout=TIMEOUT) as one:
            expected = one.explain(queries)
    assert found.missing_shards == {}
    for ours, theirs in zip(found.answers, expected, strict=True):
        assert ours.item_ids == theirs.item_ids
        assert ours.sources == theirs.sources
        for ours_of_item, theirs_of_item in zip(ours.contributions, theirs.contributions, strict=True):
            assert ours_of_item == pytest.approx(theirs_of_item, rel=1e-5, abs=1e-6)
    assert [len(answer.item_ids) for answer in found.answers[:2]] == [0, 3]
    assert len(found.answers[2].item_ids) > 10


def test_a_shard_that_is_down_is_missing_and_the_others_answer(sparse, world):
    addresses, histories, _, parts, _ = sparse
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = format_address(*closed.getsockname())
    with sharded_client(addresses[0], nobody, addresses[2]) as client:
        answer = client.recommend(histories)
    assert list(answer.missing_shards) == [1]
    assert f"Predict at {nobody}: UNAVAILABLE: " in answer.missing_shards[1]
    check_without(answer, parts, world, histories, missing=1)


def test_a_shard_that_misses_the_deadline_is_missing_and_the_others_answer(sparse, world):
    addresses, histories, _, parts, _ = sparse
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = format_address(*silent.getsockname())
        with sharded_client(*addresses[:2], address) as client:
            answer = client.recommend(histories, timeout=5.0)
    assert list(answer.missing_shards) == [2]
    assert f"at {address}: DEADLINE_EXCEEDED: " in answer.missing_shards[2]
    check_without(answer, parts, world, histories, missing=2)


def check_without(answer, parts, world, histories, missing):
    """The answer is that of the whole index but for the items of one shard."""
    everything = world("product", PRUNED).ask(histories)
    manifest = json.loads((parts[missing].directory / EXTRA / MANIFEST).read_text())
    first, count = manifest["shard"]["first_item"], manifest["shard"]["items"]
    gone = {f"item-{row}" for row in range(first, first + count)}
    left_out = 0
    for query, found in enumerate(answer.answers):
        best = ids_of(everything, query)
        left_out += bool(gone & set(best[: ANSWERS.default_k]))
        assert list(found.item_ids) == [item for item in best if item not in gone][: ANSWERS.default_k]
    assert left_out > 5


def test_a_shard_of_another_version_is_missing(sparse, tmp_path):
    addresses, histories, _, parts, _ = sparse
    shutil.copytree(parts[1].directory, tmp_path / "2")
    with EmbeddedServer(tmp_path, port=0) as newer, sharded_client(addresses[0], newer.address, addresses[2]) as client:
        answer = client.recommend(histories)
        assert answer.missing_shards == {1: "it answered with version 2, others with 1"}
        assert {found.model_version for found in answer.answers} == {1}
        pinned = client.recommend(histories, version=2)
    assert list(pinned.missing_shards) == [0, 2]
    assert "NOT_FOUND" in pinned.missing_shards[0]


def test_no_shard_at_all_is_an_error():
    with sharded_client("127.0.0.1:1", "127.0.0.1:1") as client, pytest.raises(PredictError) as raised:
        client.recommend([["item-1"]])
    assert raised.value.code == grpc.StatusCode.UNAVAILABLE


def test_one_shard_given_twice_is_an_error(sparse):
    addresses, *_ = sparse
    with (
        sharded_client(addresses[0], addresses[0]) as client,
        pytest.raises(UserError, match=r"two shards returned item 'item-\d+'.*the address of each shard once"),
    ):
        client.recommend([[]])


def test_no_history_asks_nothing():
    with sharded_client("127.0.0.1:1") as client:
        assert client.recommend([]).answers == []


def test_the_manifest_says_which_shard_of_which_index(sparse):
    manifests = [json.loads((part.directory / EXTRA / MANIFEST).read_text()) for part in sparse[3]]
    assert [manifest["shard"] for manifest in manifests] == [
        {"number": 0, "count": 3, "first_item": 0, "items": 13},
        {"number": 1, "count": 3, "first_item": 13, "items": 13},
        {"number": 2, "count": 3, "first_item": 26, "items": 14},
    ]
    assert len({manifest["index_fingerprint"] for manifest in manifests}) == 1
    assert len({manifest["fingerprint"] for manifest in manifests}) == 3
    made = json.loads((sparse[3][0].index / MANIFEST).read_text())
    assert sum(manifest["postings"] for manifest in manifests) == made["postings"]
