"""Every expression of rules and dashboard, on metrics that were scraped from live servers and a live probe.

What is invented elsewhere, for alerts to fire, is found here under the names and labels that are really exported: an
expression that selects nothing would never fire, and look healthy.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import tensorflow as tf
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from pipeline.probe.asking import Asking, Track
from pipeline.probe.metrics import ProbeMetrics
from serving.client import PredictError, Query, RecommendClient
from serving.monitoring import Monitoring
from serving.options import ServerOptions
from serving.server import EmbeddedServer
from tests.k8s.test_monitoring import EXPRESSIONS, METRICS, MONITORING, RULES, read
from tests.k8s.tools import promtool, run
from tests.support.metrics import Sample, fetch, parse
from tests.support.served_models import write_toy_model

VERSIONS = {"stable": 1, "canary": 2}
BROKEN = 3
# The embedded server does not batch: these are the stock server's alone.
NOT_HERE = re.compile(r":tensorflow:serving:batching_session:")
SELECTOR = re.compile(r"(?<![\w:])(?:(?::tensorflow:|sparcode[_:])[\w:]+|up\b)(?:\{[^}]*\})?")


class Target(NamedTuple):
    """A scraped pod: the labels that scraping adds, and its samples now and a while later."""

    labels: dict[str, str]
    before: list[Sample]
    after: list[Sample]


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> list[Target]:
    """A stable server that does well, a canary that does not, and the probe that asks both."""
    base = tmp_path_factory.mktemp("models")
    for version in VERSIONS.values():
        write_toy_model(base / str(version))
        (base / str(version) / "assets.extra").mkdir()
        (base / str(version) / "assets.extra" / "manifest.json").write_text("{}")
    (base / str(BROKEN)).mkdir()
    registry = CollectorRegistry()
    metrics = ProbeMetrics(registry, base)
    options = ServerOptions(monitoring=Monitoring())
    with (
        EmbeddedServer(base, "sparcode", 0, options, versions=[1]) as stable,
        EmbeddedServer(base, "sparcode", 0, options, versions=[2, BROKEN]) as canary,
    ):
        servers = {"stable": stable, "canary": canary}

        def scrape() -> list[list[Sample]]:
            for track, server in servers.items():
                _ask(track, server, metrics)
            pages = [fetch(f"127.0.0.1:{server.metrics_port}") for server in servers.values()]
            return [*pages, parse(generate_latest(registry).decode())]

        before, after = scrape(), scrape()
    labels = [
        {"job": "sparcode-server", "namespace": "sparcode", "pod": track, "track": track, "version": str(version)}
        for track, version in VERSIONS.items()
    ]
    labels.append({"job": "sparcode-probe", "namespace": "sparcode", "pod": "probe"})
    return [Target(*target) for target in zip(labels, before, after, strict=True)]


def _ask(track: str, server: EmbeddedServer, metrics: ProbeMetrics) -> None:
    """As the probe does; and of the canary something that it cannot answer, and something that takes too long."""
    with RecommendClient(server.address) as client:
        probe = Asking(Track(track, server.address), client, [Query()], 1, metrics)
        for history in (["a"], ["a", "b"], []):
            probe.ask(Query(history))
        if track == "canary":
            probe.ask(Query(["a"], k=3))  # this model has no such signature
            with pytest.raises(PredictError, match="DEADLINE_EXCEEDED"):
                client.predict({"steps": tf.constant([10**9], tf.int64).numpy()}, "count", timeout=0.5)


def series(targets: list[Target]) -> Iterator[dict[str, str]]:
    """What was scraped, as promtool's input: each series goes on as it did between the two scrapes."""
    for target in targets:
        if target.labels["job"] == "sparcode-server":
            yield {"series": _written("up", target.labels), "values": "1x240"}
        earlier = {_written(sample.name, sample.labels): sample.value for sample in target.before}
        for sample in target.after:
            growth = sample.value - earlier.get(_written(sample.name, sample.labels), 0.0)
            written = _written(sample.name, sample.labels | target.labels | _own(sample, target))
            yield {"series": written, "values": f"{sample.value:f}{growth:+f}x240"}


def _own(sample: Sample, target: Target) -> dict[str, str]:
    """The probe's own track and version: what scraping adds to its series has neither."""
    return sample.labels if target.labels["job"] == "sparcode-probe" else {}


def _written(name: str, labels: dict[str, str]) -> str:
    pairs = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{pairs}}}"


def expressions() -> list[str]:
    """What must select something: recordings and panels as a whole, and every selector in them and in alerts."""
    whole = [rule["expr"] for rule in RULES if "record" in rule] + EXPRESSIONS
    every = [*EXPRESSIONS, *(rule["expr"] for rule in RULES)]
    parts = {part for expression in every for part in SELECTOR.findall(expression)}
    return [expression.replace("$namespace", "sparcode") for expression in (*whole, *sorted(parts))]


def test_no_expression_selects_nothing(targets: list[Target], tmp_path: pathlib.Path) -> None:
    cases = [
        {
            "expr": f"count({expression}) > bool 0",
            "eval_time": "55m",
            "exp_samples": [] if NOT_HERE.search(expression) else [{"labels": "{}", "value": 1}],
        }
        for expression in expressions()
    ]
    assert len(cases) > 40
    test = {"interval": "15s", "input_series": list(series(targets)), "promql_expr_test": cases}
    tests = {"rule_files": [str(MONITORING / "rules.yaml")], "evaluation_interval": "30s", "tests": [test]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests, width=10_000))
    run(promtool(), "test", "rules", tmp_path / "tests.yaml")


def test_a_name_that_nobody_exports_is_noticed(targets: list[Target], tmp_path: pathlib.Path) -> None:
    case = {"expr": "count(:tensorflow:serving:requests) > bool 0", "eval_time": "55m"}
    case["exp_samples"] = [{"labels": "{}", "value": 1}]
    test = {"interval": "15s", "input_series": list(series(targets)), "promql_expr_test": [case]}
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"tests": [test]}, width=10_000))
    with pytest.raises(AssertionError, match="got:"):
        run(promtool(), "test", "rules", tmp_path / "tests.yaml")


@pytest.mark.parametrize("exporter", ["server", "probe"])
def test_metrics_have_the_types_and_labels_that_metrics_yaml_says(targets: list[Target], exporter: str) -> None:
    found = [sample for target in targets if exporter in target.labels["job"] for sample in target.after]
    for name, metric in METRICS[exporter].items():
        if NOT_HERE.search(name):
            continue
        suffix, more = ("_bucket", {"le"}) if metric["type"] == "histogram" else ("", set())
        samples = [sample for sample in found if sample.name == name + suffix]
        assert samples, name
        assert all(sample.labels.keys() == {*metric["labels"], *more} for sample in samples), name


def test_all_of_the_probe_is_named(targets: list[Target]) -> None:
    names = {re.sub(r"_(bucket|sum|count)$", "", sample.name) for sample in targets[-1].after}
    assert names == METRICS["probe"].keys()


def test_selectors_are_found_whole() -> None:
    text = 'sum(rate(:tensorflow:a_b{job="x", y!~"a|b"}[5m])) / up{z="1"} unless sparcode:c:d5m > 0 and group'
    assert SELECTOR.findall(text) == [':tensorflow:a_b{job="x", y!~"a|b"}', 'up{z="1"}', "sparcode:c:d5m"]
    for rule in RULES:
        assert {re.match(r"[\w:]+", part)[0] for part in SELECTOR.findall(rule["expr"])} == read(rule["expr"])
