"""The gate before a promotion, on real servers; and its statistics on times whose truth is known."""

import json
import random

import pytest
import tensorflow as tf

from pipeline.gate.__main__ import main
from pipeline.gate.asking import Comparison
from pipeline.gate.latency import estimate, p99, ratio_of_p99
from pipeline.gate.rules import Limits, overlaps
from protos.errors import UserError
from serving.client import RecommendClient
from serving.server import EmbeddedServer
from tests.support.contract_model import ContractModel, write_contract_model

SLOW_STEPS = 60_000  # of a loop that takes some microseconds each; for one history in twenty


class Slow(ContractModel):
    def serving_default(self, history):
        wanted = tf.where(history[0, 0] == "13", SLOW_STEPS, 0)
        steps = tf.while_loop(lambda n: n < wanted, lambda n: (n + 1,), (tf.constant(0),))[0]
        with tf.control_dependencies([steps]):
            return super().serving_default(tf.identity(history))


class Silent(ContractModel):
    def serving_default(self, history):
        answer = super().serving_default(history)
        quiet = tf.shape(history)[1] > 0
        return answer | {"valid": answer["valid"] & ~quiet}


class Other(ContractModel):
    """Leaves out what others put first."""

    def serving_default(self, history):
        first = tf.constant([["0", "1", "2"]])
        return super().serving_default(tf.concat([history, tf.repeat(first, tf.shape(history)[0], 0)], 1))


class Failing(ContractModel):
    def serving_default(self, history):
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(history[:, 0] != "13"), ["bad luck"])]):
            return super().serving_default(tf.identity(history))


KINDS = {1: ContractModel, 2: ContractModel, 3: Slow, 4: Silent, 5: Other, 6: Failing}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of each version, each alone in its server."""
    servers = {}
    for version, kind in KINDS.items():
        base = tmp_path_factory.mktemp("models")
        write_contract_model(base / str(version), kind)
        servers[version] = EmbeddedServer(base, "sparcode", 0).start()
    yield {version: server.address for version, server in servers.items()}
    for server in servers.values():
        server.stop(0)


@pytest.fixture(scope="module")
def queries(tmp_path_factory):
    path = tmp_path_factory.mktemp("queries") / "queries.jsonl"
    path.write_text("".join(json.dumps({"history": [str(n % 20), str((n + 7) % 20)]}) + "\n" for n in range(40)))
    return path


def gate(address, queries, canary, *flags, stable=1):
    sides = ["--stable", address[stable], "--canary", address[canary]]
    # A machine that runs tests is a noisy one: times decide nothing here, but where a test is of them.
    few = ["--min_requests=200", "--max_requests=400", "--max_p99_ratio=1e6", "--max_p99_ms=1e6"]
    return main([*sides, "--queries", str(queries), *few, *flags])


def test_a_version_like_the_one_before_passes(address, queries, tmp_path, capsys):
    assert gate(address, queries, 2, "--json", str(tmp_path / "gate.json")) == 0
    said = capsys.readouterr().out
    assert said.startswith("canary, version 2, against stable, version 1: ")
    assert said.endswith("passed: it may be promoted\n")
    found = json.loads((tmp_path / "gate.json").read_text())
    assert found["passed"] is True
    assert found["requests"] in (200, 400)
    checks = {check["name"]: check for check in found["checks"]}
    assert list(checks) == ["failed requests", "p99 ms", "p99 ratio", "overlap@50", "empty answers"]
    assert checks["overlap@50"]["canary"] == 1
    assert found["stable"]["versions"] == [1]
    assert 0 < found["canary"]["p99_ms"] < 1000


@pytest.mark.parametrize(
    ("canary", "reasons"),
    [(4, "overlap@50, empty answers"), (5, "overlap@50"), (6, "failed requests")],
)
def test_a_bad_version_is_refused_with_the_reason(address, queries, capsys, canary, reasons):
    assert gate(address, queries, canary, "--min_overlap=0.9") == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"refused: {reasons}"


def test_a_slow_version_is_refused(address, queries, capsys):
    # Many times slower, so that noise does not leave it open.
    assert gate(address, queries, 3, "--min_overlap=0.9", "--max_p99_ratio=4") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "refused: p99 ratio"


def test_the_absolute_limit_counts_too(address, queries, capsys):
    assert gate(address, queries, 2, "--max_p99_ms=0.001") == 1
    assert capsys.readouterr().out.splitlines()[-1] == "refused: p99 ms"


def test_what_cannot_be_compared_is_no_verdict(address, queries, tmp_path):
    with pytest.raises(UserError, match=r"are both answered by version 1; expected the canary to be another"):
        gate(address, queries, 1)
    with pytest.raises(UserError, match=r"--canary cannot be compared: Predict at 127.0.0.1:1: UNAVAILABLE"):
        gate(address | {9: "127.0.0.1:1"}, queries, 9, "--timeout=1")
    with pytest.raises(UserError, match=r"--min_requests 10: expected at least 200"):
        gate(address, queries, 2, "--min_requests=10")
    with pytest.raises(UserError, match=r"nothing: No such file"):
        gate(address, tmp_path / "nothing", 2)
    strange = tmp_path / "strange.jsonl"
    strange.write_text('{"history": ["1"]}\n' * 30 + '{"features": {"device": "tv"}}\n')
    with pytest.raises(UserError, match="device is no input"):
        gate(address, strange, 2)


def test_both_are_asked_every_query_as_often(address, queries):
    with RecommendClient(address[1]) as stable, RecommendClient(address[2]) as canary:
        asked = [[str(number)] for number in range(10)]
        compared = Comparison(stable, canary, asked, seed=0)
        compared.ask(10)
        assert sorted(compared.stable.answers) == sorted(compared.canary.answers) == list(range(10))
        compared.ask(5)
        assert compared.rounds == len(compared.canary.seconds) == 15
    assert overlaps(compared, Limits.k) == [1.0] * 10


def times(rng, count, scale=1.0):
    """Most answers take a while, one in twenty ten times as long; a busy neighbour doubles a stretch of them."""
    return [
        scale * rng.uniform(1, 2) * (10 if rng.random() < 0.05 else 1) * (2 if index % 200 < 50 else 1)
        for index in range(count)
    ]


def test_p99_is_the_time_that_99_in_100_do_not_exceed():
    assert p99(list(range(1, 101))) == 99
    assert p99(list(range(1, 1001))) == 990
    assert p99([5.0]) == 5.0


def test_equal_servers_are_hardly_ever_found_slower_and_slower_ones_nearly_always():
    rng = random.Random(0)
    equal = [estimate(times(rng, 1000), times(rng, 1000), ratio_of_p99) for _ in range(20)]
    assert sum(found.verdict(1.3) is False for found in equal) <= 1
    assert sum(found.low <= 1 <= found.high for found in equal) >= 18
    slower = [estimate(times(rng, 1000), times(rng, 1000, 3), ratio_of_p99) for _ in range(20)]
    assert sum(found.verdict(1.3) is True for found in slower) == 0
    assert sum(found.verdict(1.3) is False for found in slower) >= 18


def test_noise_that_hits_both_at_once_cancels():
    rng = random.Random(1)
    shared = [rng.lognormvariate(0, 1) for _ in range(1000)]
    found = estimate(shared, [1.1 * value for value in shared], ratio_of_p99)
    assert (found.low, found.high) == (pytest.approx(1.1), pytest.approx(1.1))
