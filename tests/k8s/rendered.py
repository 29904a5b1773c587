"""Rendered kustomizations, and ways to walk through them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from tests.k8s.tools import K8S, kustomize, run

Resource = dict[str, Any]
# What is applied to a cluster as it is; everything else is a part of these.
SERVING = [f"overlays/{name}" for name in ("dev", "prod", "canary", "canary-live", "sharded", "baked", "bucket")]
PIPELINES = ["pipeline", "overlays/sharded/pipeline"]  # each with the volumes of its namespace
JOBS = ["pipeline/jobs", "overlays/sharded/jobs"]
WORKERS = "pipeline/workers"
APPLIED = [*SERVING, *PIPELINES, *JOBS, WORKERS, "monitoring", "monitoring/probe"]


@functools.cache
def render(name: str) -> list[Resource]:
    """The resources of k8s/`name`; not to be changed."""
    return list(yaml.safe_load_all(run(*kustomize(), K8S / name)))


def of_kind(name: str, kind: str) -> list[Resource]:
    """The resources of one kind."""
    return [resource for resource in render(name) if resource["kind"] == kind]


@dataclasses.dataclass(frozen=True)
class Pod:
    """The pods that a resource makes: who makes them, their labels and their specification."""

    owner: Resource
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def name(self) -> str:
        """The owner, for messages."""
        return f"{self.owner['kind']} {self.owner['metadata']['name']}"

    @property
    def containers(self) -> list[dict[str, Any]]:
        """All of them, init containers first."""
        return [*self.spec.get("initContainers", ()), *self.spec["containers"]]

    def container(self, name: str) -> dict[str, Any]:
        """One of them."""
        return next(container for container in self.containers if container["name"] == name)


def pods(name: str) -> Iterator[Pod]:
    """The pods of all Deployments, Jobs and CronJobs."""
    return pods_of(render(name))


def pods_of(resources: Iterable[Resource]) -> Iterator[Pod]:
    """The pods that resources make."""
    for resource in resources:
        spec = resource.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield Pod(resource, template.get("metadata", {}).get("labels", {}), template["spec"])


def servers(name: str) -> list[Pod]:
    """The pods that serve."""
    return [pod for pod in pods(name) if pod.labels.get("app.kubernetes.io/component") == "server"]


def flags(container: dict[str, Any]) -> dict[str, str]:
    """The `--name=value` arguments, with variables of the environment that are written out put in."""
    values = {entry["name"]: entry.get("value") for entry in container.get("env", ())}
    pairs = (argument.removeprefix("--").partition("=") for argument in container["args"])
    return {name: values[value[2:-1]] or value if value.startswith("$(") else value for name, _, value in pairs}


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Whether a selector of labels takes these."""
    return selector.items() <= labels.items()
