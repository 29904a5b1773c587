"""The probe's pod: what it asks is there, what it needs is let through, and Prometheus finds it."""

from __future__ import annotations

import pathlib

import pytest
import yaml

from pipeline.probe.__main__ import _parser, _tracks
from serving.recorded import read_recorded
from tests.k8s.rendered import Pod, of_kind, pods, selects, servers
from tests.k8s.tools import K8S

PROBE = "monitoring/probe"


@pytest.fixture(scope="module")
def pod() -> Pod:
    (found,) = pods(PROBE)
    return found


def test_its_command_line_is_understood(pod: Pod) -> None:
    container = pod.container("probe")
    assert container["command"] == ["python", "-m", "pipeline.probe"]
    flags = _parser().parse_args(container["args"])
    assert flags.port == container["ports"][0]["containerPort"]
    (config,) = of_kind(PROBE, "ConfigMap")
    assert flags.queries.name in config["data"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(flags.queries.parent), str(flags.published)} <= mounts


def test_it_asks_the_services_of_both_tracks(pod: Pod) -> None:
    flags = _parser().parse_args(pod.container("probe")["args"])
    for track, overlay in zip(_tracks(flags), ("overlays/prod", "overlays/canary"), strict=True):
        (server,) = servers(overlay)
        assert server.labels["sparcode.dev/track"] == track.name
        host, port = track.address.removeprefix("dns:///").split(":")
        (service,) = (one for one in of_kind(overlay, "Service") if one["metadata"]["name"] == host)
        assert service["metadata"]["namespace"] == pod.owner["metadata"]["namespace"]
        assert selects(service["spec"]["selector"], server.labels)
        assert [entry["port"] for entry in service["spec"]["ports"]] == [int(port)]
        assert track.optional is (overlay == "overlays/canary")


def test_it_is_let_through_to_the_servers_and_prometheus_to_it(pod: Pod) -> None:
    (servers_policy,) = of_kind("overlays/prod", "NetworkPolicy")
    grpc = next(rule for rule in servers_policy["spec"]["ingress"] if rule["ports"] == [{"port": 8500}])
    assert any(selects(peer["podSelector"]["matchLabels"], pod.labels) for peer in grpc["from"])
    (policy,) = of_kind(PROBE, "NetworkPolicy")
    assert selects(policy["spec"]["podSelector"]["matchLabels"], pod.labels)
    asked, names = policy["spec"]["egress"]
    for overlay in ("overlays/prod", "overlays/canary", "overlays/canary-live"):
        assert selects(asked["to"][0]["podSelector"]["matchLabels"], servers(overlay)[0].labels)
    assert asked["ports"] == [{"port": 8500}]
    assert {port["port"] for port in names["ports"]} == {53}
    (scraped,) = policy["spec"]["ingress"]
    metrics = next(rule for rule in servers_policy["spec"]["ingress"] if rule["ports"] == [{"port": 8501}])
    assert scraped["from"] == metrics["from"]
    assert [port["port"] for port in scraped["ports"]] == [pod.container("probe")["ports"][0]["containerPort"]]


def test_prometheus_finds_it_by_its_labels(pod: Pod) -> None:
    jobs = yaml.safe_load((K8S / "monitoring" / "scrape.yaml").read_text())["scrape_configs"]
    (job,) = (job for job in jobs if job["job_name"] == "sparcode-probe")
    values = [pod.labels["app.kubernetes.io/name"], pod.labels["app.kubernetes.io/component"]]
    assert ";".join([*values, pod.container("probe")["ports"][0]["name"]]) == job["relabel_configs"][0]["regex"]


def test_the_queries_are_some() -> None:
    queries = read_recorded(pathlib.Path(K8S, "monitoring", "probe", "queries.jsonl"), 100)
    assert len(queries) >= 5
    assert all(query.history for query in queries)
