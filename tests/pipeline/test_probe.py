"""The probe on a live server: what it counts, and that it goes on whatever happens."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from pipeline.probe.__main__ import main
from pipeline.probe.asking import Asking, Track
from pipeline.probe.metrics import ProbeMetrics
from protos.errors import UserError
from serving.client import Query, Recommendation, RecommendClient
from serving.server import EmbeddedServer
from tests.support.contract_model import ContractModel, write_contract_model
from tests.support.metrics import fetch, parse

ROOT = pathlib.Path(__file__).parents[2]
PREFIX = "sparcode_probe_"


def by_labels(samples, name):
    """The values of a metric, by track and whatever label there is besides."""
    return {
        (sample.labels["track"], *(value for label, value in sample.labels.items() if label != "track")): sample.value
        for sample in samples
        if sample.name == name
    }


class Probe:
    """Metrics of its own, and how they read."""

    def __init__(self, published=None):
        self.registry = CollectorRegistry()
        self.metrics = ProbeMetrics(self.registry, published)

    def series(self, name):
        """Value by the values of the labels."""
        samples = parse(generate_latest(self.registry).decode())
        return by_labels(samples, PREFIX + name)


def answered(version=3, items=("a",), fallback=(False, True, False), tokens=2):
    return Recommendation(items, (1.0,) * len(items), ((0,),) * tokens, (0,) * len(fallback), fallback, version)


def test_answers_are_counted_by_track_and_version():
    probe = Probe()
    for track, answer in (("stable", answered()), ("stable", answered(items=())), ("canary", answered(4))):
        probe.metrics.answer(track, answer)
    assert probe.series("answers_total") == {("stable", "3"): 2, ("canary", "4"): 1}
    assert probe.series("empty_answers_total") == {("stable", "3"): 1, ("canary", "4"): 0}
    assert probe.series("tokens_total") == {("stable", "3"): 4, ("canary", "4"): 2}
    assert probe.series("unknown_codes_total") == {("stable", "3"): 2, ("canary", "4"): 1}
    assert probe.series("published_timestamp_seconds") == {}


def test_keys_of_events_are_no_unknown_codes():
    probe = Probe()
    probe.metrics.answer("stable", answered(fallback=(False, False, True, True), tokens=2))
    assert probe.series("unknown_codes_total") == {("stable", "3"): 0}


def test_a_version_is_as_old_as_its_manifest_and_forgotten_when_it_no_longer_answers(tmp_path, monkeypatch):
    manifest = tmp_path / "3" / "assets.extra" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    os.utime(manifest, (1_700_000_000, 1_700_000_000))
    probe, now = Probe(tmp_path), [1000.0]
    monkeypatch.setattr("pipeline.probe.metrics.time.monotonic", lambda: now[0])
    probe.metrics.answer("stable", answered(3))
    probe.metrics.answer("stable", answered(4))  # not there
    assert probe.series("published_timestamp_seconds") == {("stable", "3"): 1_700_000_000}
    now[0] += 1000
    probe.metrics.answer("stable", answered(4))
    assert probe.series("published_timestamp_seconds") == {}


def test_a_manifest_that_could_not_be_seen_is_looked_for_again(tmp_path):
    probe, manifest = Probe(tmp_path), tmp_path / "3" / "assets.extra" / "manifest.json"
    probe.metrics.answer("stable", answered(3))
    assert probe.series("published_timestamp_seconds") == {}
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    for published in (1_700_000_000, 1_800_000_000):  # it is read once: a version does not change
        os.utime(manifest, (published, published))
        probe.metrics.answer("stable", answered(3))
        assert probe.series("published_timestamp_seconds") == {("stable", "3"): 1_700_000_000}


@pytest.fixture(scope="module")
def address(contract_base):
    with EmbeddedServer(contract_base, "sparcode", 0) as server:
        yield server.address


@pytest.fixture(scope="module")
def contract_base(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    write_contract_model(base / "1", ContractModel)
    return base


def test_whatever_a_call_ends_with_is_counted_and_timed(address):
    probe = Probe()
    with RecommendClient(address) as client, RecommendClient("127.0.0.1:1", timeout=0.5) as nobody:
        there = Asking(Track("stable", address), client, [Query()], 1, probe.metrics)
        there.ask(Query(["1"]))
        there.ask(Query(["1"], features={"device": "tv"}))  # which this model does not have
        Asking(Track("gone", "127.0.0.1:1"), nobody, [Query()], 1, probe.metrics).ask(Query(["1"]))
    codes = probe.series("requests_total")
    assert codes.pop(("stable", "OK")) == 1
    assert codes.pop(("stable", "INVALID_ARGUMENT")) == 1
    ((track, code),) = codes
    assert track == "gone"
    assert code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    assert probe.series("request_seconds_count") == {("stable",): 2, ("gone",): 1}
    assert probe.series("answers_total") == {("stable", "1"): 1}


def test_an_optional_track_is_there_while_its_name_is_known():
    assert Track("canary", "dns:///localhost:8500", optional=True).is_there()
    assert not Track("canary", "dns:///no-such-host.invalid:8500", optional=True).is_there()
    assert Track("stable", "dns:///no-such-host.invalid:8500").is_there(), (
        "that it is not there is an error, and counts"
    )


def test_the_command_asks_steadily_until_it_is_told_to_stop(address, contract_base, tmp_path):
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"history": ["1"]}\n{"history": []}\n')
    tracks = [f"--track=stable={address}", "--optional_track=canary=no-such-host.invalid:8500"]
    flags = [
        *tracks,
        f"--queries={queries}",
        f"--published={contract_base}",
        "--rate=20",
        "--host=127.0.0.1",
        "--port=0",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.probe", *flags], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        said = process.stdout.readline()
        port = re.fullmatch(r"probing stable, canary with 2 queries; metrics at 127.0.0.1:(\d+)\n", said)[1]
        time.sleep(2)
        samples = fetch(f"127.0.0.1:{port}", "/metrics")
        asked = by_labels(samples, f"{PREFIX}requests_total")
        assert list(asked) == [("stable", "OK")]
        assert 20 <= asked["stable", "OK"] <= 60
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "found no track; expected --track NAME=ADDRESS"),
        (["--track=stable"], "--track stable: expected NAME=ADDRESS, such as"),
        (["--track=a=h:1", "--optional_track=a=h:2"], "found twice the track a"),
        (["--track=a=h:1", "--rate=0"], "--rate 0.0: expected more than 0"),
    ],
)
def test_a_command_line_that_says_nothing_sensible(flags, message):
    with pytest.raises(UserError, match=message):
        main(["--queries=q.jsonl", *flags])
