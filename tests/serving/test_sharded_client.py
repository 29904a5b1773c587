"""Shards of one index, each served by a server of its own, and the client that asks them all."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import shutil
import socket

import grpc
import numpy as np
import pytest

from protos.artifact import MANIFEST
from protos.errors import UserError
from serving.client import PredictError, Query, QueryError, RecommendClient, ShardedClient
from serving.export import EXTRA
from serving.listening import format_address
from serving.retrieval import AnswerOptions
from serving.server import EmbeddedServer
from serving.shards import Shard
from tests.docs.blocks import PAGES, blocks_of
from tests.serving.worlds import PRUNED, World, ids_of
from tests.support.exports import item_ids, random_histories

COUNT = 3
ANSWERS = AnswerOptions(default_k=7)
TIMEOUT = 30.0


def sharded_client(*addresses: str) -> ShardedClient:
    return ShardedClient([RecommendClient(address, timeout=TIMEOUT) for address in addresses])


@dataclasses.dataclass(frozen=True)
class Shards:
    """What serves an index in shards, and the same index in one piece."""

    addresses: list[str]
    parts: list[World]
    whole: World

    @property
    def histories(self) -> list[list[str]]:
        return [[], *random_histories(self.whole.spec, 15, seed=8), item_ids(self.whole.spec)]


@pytest.fixture(scope="module")
def shards(world):
    whole, *parts = (
        world("product", PRUNED, "completed", ANSWERS, shard)
        for shard in (Shard(), *(Shard(number, COUNT) for number in range(COUNT)))
    )
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(EmbeddedServer(part.directory.parent, port=0)) for part in parts]
        yield Shards([server.address for server in servers], parts, whole)


def test_all_shards_answer_what_one_index_answers(shards):
    expected = shards.whole.ask(shards.histories)
    with sharded_client(*shards.addresses) as client:
        found = client.recommend(shards.histories)
    assert found.missing_shards == {}
    for query, answer in enumerate(found.answers):
        assert list(answer.item_ids) == ids_of(expected, query)
        assert list(answer.scores) == expected["scores"][query, : len(answer.scores)].tolist()
        for name in ("codes", "keys", "fallback"):
            assert json.dumps(getattr(answer, name)) == json.dumps(expected[name][query].tolist())
    assert expected["fallback"].any()
    assert (expected["valid"].sum(axis=1) == ANSWERS.default_k).any()


def test_choices_and_explanations_go_to_all_shards(shards):
    histories = shards.histories
    queries = [
        Query(histories[3], k=0),
        Query(histories[4], k=3, include_seen=True),
        Query(histories[5], k=25, exclude_ids=["item-1", "item-20", "item-39"]),
        Query(histories[6], k=10**6, allow_categories=["Comedy"]),
        Query(histories[7], deny_categories=["Comedy"]),
    ]
    with EmbeddedServer(shards.whole.directory.parent, port=0) as server, RecommendClient(server.address) as one:
        expected = one.explain(queries, timeout=TIMEOUT)
    with sharded_client(*shards.addresses) as client:
        explained, recommended = client.explain(queries), client.recommend(queries)
    assert explained.missing_shards == recommended.missing_shards == {}
    assert explained.answers == expected
    assert [answer.item_ids for answer in recommended.answers] == [answer.item_ids for answer in expected]
    sizes = [len(answer.item_ids) for answer in expected]
    assert sizes[:2] == [0, 3]
    assert sizes[2] > ANSWERS.default_k
    assert all(sizes[3:])


def test_a_shard_that_is_down_is_missing_and_the_others_answer(shards):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = format_address(*closed.getsockname())
    with sharded_client(shards.addresses[0], nobody, shards.addresses[2]) as client:
        found = client.recommend(shards.histories)
    assert list(found.missing_shards) == [1]
    assert f"Predict at {nobody}: UNAVAILABLE: " in found.missing_shards[1]
    check_without(found.answers, shards, missing=1)


def test_a_shard_that_misses_the_deadline_is_missing_and_the_others_answer(shards):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = format_address(*silent.getsockname())
        with sharded_client(*shards.addresses[:2], address) as client:
            found = client.recommend(shards.histories, timeout=5.0)
    assert list(found.missing_shards) == [2]
    assert f"at {address}: DEADLINE_EXCEEDED: " in found.missing_shards[2]
    check_without(found.answers, shards, missing=2)


def check_without(answers, shards, missing):
    """The answers are those of the whole index but for the items of one shard."""
    everything = shards.whole.ask(shards.histories, "recommend", k=np.full(len(shards.histories), 1000, np.int32))
    described = json.loads((shards.parts[missing].directory / EXTRA / MANIFEST).read_text())["shard"]
    rows = range(described["first_item"], described["first_item"] + described["items"])
    gone = {f"item-{row}" for row in rows}
    left_out = 0
    for query, answer in enumerate(answers):
        best = ids_of(everything, query)
        left_out += bool(gone & set(best[: ANSWERS.default_k]))
        assert list(answer.item_ids) == [item for item in best if item not in gone][: ANSWERS.default_k]
    assert left_out > 5


def test_a_shard_of_another_version_is_missing(shards, tmp_path):
    first, _, last = shards.addresses
    shutil.copytree(shards.parts[1].directory, tmp_path / "2")
    with EmbeddedServer(tmp_path, port=0) as newer, sharded_client(first, newer.address, last) as client:
        found = client.recommend(shards.histories)
        assert found.missing_shards == {1: "it answered with version 2, others with 1"}
        assert {answer.model_version for answer in found.answers} == {1}
        pinned = client.recommend(shards.histories, version=2)
    assert list(pinned.missing_shards) == [0, 2]
    assert "NOT_FOUND" in pinned.missing_shards[0]


def test_no_shard_at_all_is_an_error():
    with sharded_client("127.0.0.1:1", "127.0.0.1:1") as client, pytest.raises(PredictError) as raised:
        client.recommend([["item-1"]])
    assert raised.value.code == grpc.StatusCode.UNAVAILABLE


def test_a_request_that_a_shard_refuses_is_an_error(shards):
    with sharded_client(*shards.addresses) as client, pytest.raises(QueryError, match="mood is no input"):
        client.recommend([Query(["item-1"], features={"mood": "calm"})])


def test_one_shard_given_twice_is_an_error(shards):
    first = shards.addresses[0]
    with (
        sharded_client(first, first) as client,
        pytest.raises(UserError, match=r"two shards returned item 'item-\d+'.*the address of each shard once"),
    ):
        client.recommend([[]])


def test_no_history_asks_nothing():
    with sharded_client("127.0.0.1:1") as client:
        assert client.recommend([]).answers == []


def test_the_manifest_says_which_shard_of_which_index(shards):
    manifests = [json.loads((part.directory / EXTRA / MANIFEST).read_text()) for part in shards.parts]
    assert [manifest["shard"] for manifest in manifests] == [
        {"number": 0, "count": 3, "first_item": 0, "items": 13},
        {"number": 1, "count": 3, "first_item": 13, "items": 13},
        {"number": 2, "count": 3, "first_item": 26, "items": 14},
    ]
    assert len({manifest["index_fingerprint"] for manifest in manifests}) == 1
    assert len({manifest["fingerprint"] for manifest in manifests}) == 3
    made = json.loads((shards.whole.index / MANIFEST).read_text())
    assert sum(manifest["postings"] for manifest in manifests) == made["postings"]


@pytest.mark.parametrize("block", [block for page in PAGES for block in blocks_of(page, "python")], ids=str)
def test_the_documentations_python_prints_answers(block, shards, capsys):
    """As it stands, but for addresses and deadlines."""
    text = re.sub(r"timeout=[\d.]+", f"timeout={TIMEOUT}", block.text)
    text = re.sub(r'\["shard-0:8500".*?\]', repr(shards.addresses), text).replace(
        "dns:///sparcode:8500", shards.addresses[0]
    )
    assert ":8500" not in text
    exec(compile(text, str(block), "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == (3 if "for answer in" in text else 1)
