"""A cluster of this machine's processes: what kubectl's commands in k8s/README.md do to it."""

from __future__ import annotations

import itertools
import pathlib
import threading
import time
from collections.abc import Mapping
from typing import Any

import yaml

from tests.k8s.rendered import Pod, Resource, selects
from tests.k8s.tools import kustomize, run
from tests.rehearsal.deployments import Deployment, deployment
from tests.rehearsal.kubelet import LivePod
from tests.rehearsal.names import NameServer
from tests.rehearsal.pace import Pace
from tests.rehearsal.volumes import Volumes

_TICK_SECONDS = 0.1
_STUCK_AFTER_FAILURES = 2


class RolloutFailed(Exception):  # noqa: N818  # what kubectl says
    """A rollout that does not come to its end."""


class Cluster:
    """Runs what was applied, while a `with` block runs.

    Args:
      directory: for the pods' files.
      network: the first three numbers of the pods' addresses, of 127.0.0.0/8, such as "127.70.1".
      claims: where each PersistentVolumeClaim is.
      pace: of every period and grace.
      most_pods: of one Deployment.
    """

    def __init__(
        self, directory: pathlib.Path, network: str, claims: Mapping[str, pathlib.Path], pace: Pace, most_pods: int
    ) -> None:
        self._directory, self._network, self._claims, self._pace = directory, network, claims, pace
        self._most_pods = most_pods
        self._deployments: dict[str, Deployment] = {}
        self._services: dict[str, dict[str, str]] = {}
        self._config_maps: dict[str, Mapping[str, str]] = {}
        self._numbers = itertools.count(1)
        self._lock, self._stopping = threading.RLock(), threading.Event()
        self._controller = threading.Thread(target=self._reconcile, name="controller", daemon=True)
        self._names = NameServer(f"{network}.254", self.addresses)
        self._all_pods: list[LivePod] = []

    def __enter__(self) -> Cluster:
        self._names.__enter__()
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._controller.join()
        for pod in self._all_pods:
            pod.lose()
        for pod in self._all_pods:
            pod.wait_until_gone()
        self._names.__exit__()

    # --- What is applied ------------------------------------------------------------------------

    def apply(self, directory: pathlib.Path) -> None:
        """kubectl apply -k."""
        resources = list(yaml.safe_load_all(run(*kustomize(), directory)))
        scalers = {
            resource["spec"]["scaleTargetRef"]["name"]: resource["spec"]["minReplicas"]
            for resource in resources
            if resource["kind"] == "HorizontalPodAutoscaler"
        }
        with self._lock:
            for resource in resources:
                name = resource["metadata"]["name"]
                if resource["kind"] == "ConfigMap":
                    self._config_maps[name] = resource["data"]
                elif resource["kind"] == "Service":
                    self._services[name] = resource["spec"]["selector"]
            for resource in resources:
                if resource["kind"] == "Deployment":
                    self._want(resource, scalers)

    def _want(self, resource: Resource, scalers: Mapping[str, int]) -> None:
        template = resource["spec"]["template"]
        pod = Pod(resource, template["metadata"]["labels"], template["spec"])
        name = resource["metadata"]["name"]
        if name not in self._deployments:
            self._deployments[name] = deployment(pod, scalers.get(name), self._most_pods)
        self._deployments[name].wanted = pod

    def delete(self, directory: pathlib.Path) -> None:
        """kubectl delete -k."""
        with self._lock:
            for resource in yaml.safe_load_all(run(*kustomize(), directory)):
                name = resource["metadata"]["name"]
                if resource["kind"] == "Service":
                    self._services.pop(name, None)
                elif resource["kind"] == "Deployment":
                    for _, pod in self._deployments.pop(name).pods:
                        if not pod.terminating:
                            pod.terminate()

    def wait_for_rollout(self, name: str, timeout: float) -> None:
        """kubectl rollout status deployment/NAME --timeout: the deadline of progress is not waited for where a new pod
        has failed twice.

        Raises:
          RolloutFailed: it does not come to its end.
        """
        deadline = time.monotonic() + timeout
        while True:
            with self._lock:
                found = self._deployments[name]
                if found.complete:
                    return
                failed = [pod for pod in found.current() if pod.failures >= _STUCK_AFTER_FAILURES]
            if failed:
                raise RolloutFailed(f"{failed[0].name} has failed {failed[0].failures} times: {_last_line(failed[0])}")
            if time.monotonic() > deadline:
                raise RolloutFailed(f"{name} is not rolled out after {timeout:.0f} s")
            time.sleep(_TICK_SECONDS)

    # --- What is there --------------------------------------------------------------------------

    def addresses(self, name: str) -> list[str] | None:
        """Of a headless service's pods: those that are ready and not on their way out; None if there is no service."""
        with self._lock:
            selector = self._services.get(name)
            return None if selector is None else [pod.address for pod in self.ready_pods(selector)]

    def ready_pods(self, labels: Mapping[str, str]) -> list[LivePod]:
        """The pods with these labels that may be sent requests."""
        with self._lock:
            every = (pod for found in self._deployments.values() for _, pod in found.pods)
            return [pod for pod in every if pod.ready and not pod.terminating and selects(labels, pod.pod.labels)]

    def pods(self, name: str) -> list[LivePod]:
        """The pods of a Deployment that are wanted and ready."""
        with self._lock:
            found = self._deployments.get(name)
            return [pod for pod in found.current() if pod.ready] if found else []

    def target(self, service: str) -> str:
        """What a client asks for a headless service's port 8500."""
        return f"dns://{self._names.authority}/{service}:8500"

    def leaving(self) -> int:
        """How many pods are on their way out."""
        return sum(pod.terminating and not pod.gone for pod in self._all_pods)

    def log(self, name: str) -> str:
        """What the pods of a Deployment said, those that went too."""
        return "\n".join(f"--- {pod.name}\n{pod.log()}" for pod in self._all_pods if pod.name.startswith(name))

    def _reconcile(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            with self._lock:
                for found in self._deployments.values():
                    found.step(self._create)

    def _create(self, wanted: Deployment) -> LivePod:
        number = next(self._numbers)
        pod, name = wanted.wanted, f"{wanted.name}-{number}"
        volumes = Volumes(pod, self._directory / name, self._claims, self._config_maps)
        log = self._directory / name / "log"
        address = f"{self._network}.{number}"
        self._all_pods.append(LivePod(name, address, pod, volumes, log, self._pace, self._names.authority))
        return self._all_pods[-1]


def _last_line(pod: LivePod) -> Any:
    return (pod.log().strip().splitlines() or ["it said nothing"])[-1]
