"""The parts of a rehearsal's cluster, where their rules can be seen without a server."""

from __future__ import annotations

import dataclasses
import pathlib
import random

import dns.message
import dns.query
import dns.rcode
import pytest

from tests.k8s.rendered import Pod, servers
from tests.rehearsal.containers import command_line
from tests.rehearsal.deployments import Deployment
from tests.rehearsal.kubelet import _Watch
from tests.rehearsal.names import NameServer
from tests.rehearsal.pace import Pace
from tests.rehearsal.volumes import Volumes

ONE, TWO = (Pod({"kind": "Deployment", "metadata": {"name": "d"}}, {"version": name}, {}) for name in "12")


@dataclasses.dataclass
class Process:
    """A pod that does what a test says."""

    ready: bool = False
    terminating: bool = False
    gone: bool = False

    def terminate(self) -> None:
        self.terminating = True


@pytest.mark.parametrize("seed", range(20))
def test_a_rollout_never_has_fewer_ready_pods_than_are_wanted(seed: int) -> None:
    rng = random.Random(seed)
    found = Deployment("d", replicas=3, surge=1, recreate=False, wanted=ONE)
    for _ in range(20):
        found.step(lambda _: Process(ready=True))
    assert found.complete
    found.wanted = TWO
    for _ in range(200):
        found.step(lambda _: Process())
        alive = [pod for _, pod in found.pods if not pod.terminating]
        assert sum(pod.ready for pod in alive) >= 3
        assert len(alive) <= 4
        for _, pod in found.pods:
            pod.ready = pod.ready or rng.random() < 0.1
            pod.gone = pod.terminating and rng.random() < 0.1
    assert found.complete


def test_a_version_that_never_gets_ready_replaces_nothing_and_can_be_taken_back() -> None:
    found = Deployment("d", replicas=2, surge=1, recreate=False, wanted=ONE)
    for _ in range(10):
        found.step(lambda _: Process(ready=True))
    before = [pod for _, pod in found.pods]
    found.wanted = TWO
    for _ in range(10):
        found.step(lambda _: Process())
    assert not any(pod.terminating for pod in before)
    assert len(found.current()) == 1
    found.wanted = ONE
    for _ in range(10):
        found.step(lambda _: Process())
    assert found.complete
    assert found.current() == before


def test_recreate_takes_away_first() -> None:
    found = Deployment("d", replicas=1, surge=1, recreate=True, wanted=ONE)
    found.step(lambda _: Process(ready=True))
    found.wanted = TWO
    found.step(lambda _: Process(ready=True))
    assert [pod.terminating for _, pod in found.pods] == [True]
    found.step(lambda _: Process(ready=True))
    assert found.complete


def ask(authority: str, name: str, kind: str) -> dns.message.Message:
    host, port = authority.split(":")
    return dns.query.udp(dns.message.make_query(name, kind), host, port=int(port), timeout=5)


def test_names_are_those_of_services_and_addresses_those_of_pods() -> None:
    known = {"sparcode": ["127.1.2.3", "127.1.2.4"], "empty": []}
    with NameServer("127.0.0.1", known.get) as server:
        answer = ask(server.authority, "sparcode", "A")
        assert sorted(item.address for item in answer.answer[0]) == known["sparcode"]
        assert answer.answer[0].ttl == 5
        assert ask(server.authority, "sparcode", "AAAA").answer == []
        for name in ("empty", "other"):
            assert ask(server.authority, name, "A").rcode() == dns.rcode.NXDOMAIN


def test_health_bears_as_many_failures_in_a_row_as_are_written() -> None:
    watch = _Watch({"periodSeconds": 1, "failureThreshold": 2}, Pace(0))
    states = []
    for success in (False, True, False, True, False, False, True):
        watch.heard(success)
        states.append(watch.healthy)
    assert states == [False, True, True, True, True, False, True]


def test_the_server_gets_the_flags_that_it_knows_with_paths_of_this_machine(tmp_path: pathlib.Path) -> None:
    (pod,) = servers("overlays/prod")
    name = next(volume["configMap"]["name"] for volume in pod.spec["volumes"] if "configMap" in volume)
    files = {name: {"models.config": 'base_path: "/models/sparcode"'}}
    volumes = Volumes(pod, tmp_path / "tmp", {"sparcode-published": tmp_path / "published"}, files)
    assert (tmp_path / "tmp/config/models.config").read_text() == f'base_path: "{tmp_path}/tmp/models/sparcode"'
    said = command_line(pod.container("server"), volumes, "127.1.2.3", Pace(0.5), "127.1.2.254:53")
    assert said[1:3] == ["-m", "serving.server"]
    assert f"--model_config_file={tmp_path}/tmp/config/models.config" in said
    assert "--grpc_channel_arguments=grpc.max_connection_age_ms=10000,grpc.max_connection_age_grace_ms=2500" in said
    assert {"--port=8500", "--rest_api_port=8501", "--max_num_load_retries=0", "--host=127.1.2.3"} <= {*said}
    assert not [flag for flag in said if "batching" in flag or "parallelism" in flag]
    pulled = command_line(pod.container("pull-model"), volumes, "127.1.2.3", Pace(), "")
    assert pulled[1:] == [
        "k8s/images/pull_model.py",
        f"--published={tmp_path}/published",
        "--version=1",
        f"--output={tmp_path}/tmp/models/sparcode",
    ]
