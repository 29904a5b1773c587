"""Prometheus' rules and Grafana's dashboard: tested by promtool, and made of metrics that somebody exports."""

from __future__ import annotations

import json
import pathlib
import re

import pytest
import yaml

from tests.k8s.rendered import SERVING, servers
from tests.k8s.tools import K8S, promtool, run

MONITORING = K8S / "monitoring"
METRICS = yaml.safe_load((MONITORING / "metrics.yaml").read_text())
RULES = [rule for group in yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"] for rule in group["rules"]]
PANELS = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_promtool_passes_the_rules_and_their_tests() -> None:
    run(promtool(), "check", "rules", MONITORING / "rules.yaml")
    run(promtool(), "test", "rules", MONITORING / "rules.test.yaml")


def test_promtool_takes_the_scrape_configuration(tmp_path: pathlib.Path) -> None:
    # Debian builds it without the part that asks Kubernetes for pods; all else is checked with a target in its place.
    text = (
        (MONITORING / "scrape.yaml").read_text().replace("kubernetes_sd_configs:\n  - role: pod", "static_configs: []")
    )
    assert text.count("static_configs: []") == 2
    (tmp_path / "prometheus.yaml").write_text(text)
    run(promtool(), "check", "config", tmp_path / "prometheus.yaml")


def test_promtool_takes_every_expression_of_the_dashboard(tmp_path: pathlib.Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(EXPRESSIONS)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    run(promtool(), "check", "rules", tmp_path / "rules.yaml")


def test_every_alert_is_seen_to_fire() -> None:
    tests = yaml.safe_load((MONITORING / "rules.test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", ()) if case["exp_alerts"]}
    assert fired == {rule["alert"] for rule in RULES if "alert" in rule}


def test_every_alert_says_what_to_do() -> None:
    for rule in RULES:
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"].keys() == {"summary", "action"}


def exported() -> set[str]:
    """The names of all series that servers, probe and Prometheus export."""
    names = set()
    for metrics in METRICS.values():
        for name, metric in metrics.items():
            parts = ("_bucket", "_sum", "_count") if metric["type"] == "histogram" else ("",)
            names |= {name + part for part in parts}
    return names


def read(expression: str) -> set[str]:
    """The names of the series that an expression reads."""
    return set(re.findall(r"(?<![\w:])(?::tensorflow:|sparcode[_:])[\w:]+|\bup\b", expression))


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in RULES), *EXPRESSIONS])
def test_only_metrics_that_somebody_exports_are_read(expression: str) -> None:
    names = read(expression)
    assert names
    assert names <= exported() | {rule["record"] for rule in RULES if "record" in rule}


def test_every_metric_named_is_read() -> None:
    used = set().union(*(read(expression) for expression in [*(rule["expr"] for rule in RULES), *EXPRESSIONS]))
    for name in (name for metrics in METRICS.values() for name in metrics):
        assert any(series.startswith(name) for series in used), name


def scrape(job: str) -> dict:
    """One job of the scrape configuration."""
    jobs = yaml.safe_load((MONITORING / "scrape.yaml").read_text())["scrape_configs"]
    return next(found for found in jobs if found["job_name"] == job)


def test_prometheus_keeps_every_metric_of_the_server() -> None:
    (keep,) = scrape("sparcode-server")["metric_relabel_configs"]
    for name in METRICS["server"]:
        assert re.fullmatch(keep["regex"], name)


@pytest.mark.parametrize("overlay", SERVING)
def test_prometheus_finds_the_servers_by_their_labels(overlay: str) -> None:
    keep, *_ = scrape("sparcode-server")["relabel_configs"]
    targets = {rule["target_label"] for rule in scrape("sparcode-server")["relabel_configs"] if "target_label" in rule}
    assert targets == {"namespace", "pod", "track", "version"}
    for server in servers(overlay):
        meta = {_meta(name): value for name, value in server.labels.items()}
        ports = [port["name"] for port in server.container("server")["ports"]]
        found = [[*(meta[label] for label in keep["source_labels"][:2]), port] for port in ports]
        assert sum(";".join(values) == keep["regex"] for values in found) == 1
        assert {"sparcode_dev_track", "sparcode_dev_version"} <= {name.removeprefix(_meta("")) for name in meta}


def _meta(label: str) -> str:
    """What Prometheus calls a label of a pod."""
    return "__meta_kubernetes_pod_label_" + re.sub(r"\W", "_", label)


def test_panels_are_of_the_chosen_namespace_and_do_not_overlap() -> None:
    for expression in EXPRESSIONS:
        assert expression.count('namespace="$namespace"') == len(re.findall(r"\{", expression))
    cells = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in PANELS]
    assert len(set(cells)) == len(cells)
