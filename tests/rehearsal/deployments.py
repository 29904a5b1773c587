"""A Deployment, and what its controller does: one step at a time, nothing taken away before there is something new."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from tests.k8s.rendered import Pod
from tests.rehearsal.kubelet import LivePod


@dataclasses.dataclass
class Deployment:
    """What is wanted, and what is there.

    Attributes:
      name: of the resource.
      replicas: how many pods.
      surge: how many more may be there during a rollout.
      recreate: whether old pods go before new ones come.
      wanted: the pod that is wanted now.
      pods: that are there, those on their way out among them, each with the revision it is of.
    """

    name: str
    replicas: int
    surge: int
    recreate: bool
    wanted: Pod
    pods: list[tuple[str, LivePod]] = dataclasses.field(default_factory=list)

    @property
    def revision(self) -> str:
        """What tells the pods that are wanted now from others."""
        return key(self.wanted)

    def current(self) -> list[LivePod]:
        """The pods of the revision that is wanted, without those on their way out."""
        return [pod for revision, pod in self.pods if revision == self.revision and not pod.terminating]

    def old(self) -> list[LivePod]:
        """Those of other revisions, without those on their way out."""
        return [pod for revision, pod in self.pods if revision != self.revision and not pod.terminating]

    @property
    def complete(self) -> bool:
        """Whether all pods are new and ready, and no old one is there but on its way out."""
        new = self.current()
        return len(new) == self.replicas and all(pod.ready for pod in new) and not self.old()

    def step(self, create: Callable[[Deployment], LivePod]) -> None:
        """What the controller does next, if anything."""
        self.pods = [(revision, pod) for revision, pod in self.pods if not pod.gone]
        new, old = self.current(), self.old()
        if self.recreate and old:
            for pod in old:
                pod.terminate()
        elif len(new) > self.replicas:
            new[-1].terminate()
        elif len(new) < self.replicas and (self.recreate or len(new) + len(old) < self.replicas + self.surge):
            self.pods.append((self.revision, create(self)))
        elif old:
            self._take_away(new, old)

    def _take_away(self, new: list[LivePod], old: list[LivePod]) -> None:
        """An old pod that serves nobody, or else one that can be spared: maxUnavailable is 0."""
        idle = [pod for pod in old if not pod.ready]
        if idle:
            idle[0].terminate()
        elif sum(pod.ready for pod in (*new, *old)) > self.replicas:
            old[0].terminate()


def key(pod: Pod) -> str:
    """Equal for equal pods."""
    return json.dumps([pod.labels, pod.spec], sort_keys=True)


def deployment(pod: Pod, min_replicas: int | None, most: int) -> Deployment:
    """The Deployment that a rendered pod is of.

    Args:
      pod: as rendered.
      min_replicas: of its autoscaler, which says how many there are where the Deployment does not.
      most: pods that this machine has room for.
    """
    spec: dict[str, Any] = pod.owner["spec"]
    strategy = spec.get("strategy", {})
    rolling = strategy.get("rollingUpdate", {"maxSurge": 1, "maxUnavailable": 0})
    if rolling["maxUnavailable"] != 0:
        raise AssertionError(f"{pod.name}: the rehearsal knows rollouts that take nothing away first, found {rolling}")
    return Deployment(
        name=pod.owner["metadata"]["name"],
        replicas=min(spec.get("replicas") or min_replicas or 1, most),
        surge=rolling["maxSurge"],
        recreate=strategy.get("type") == "Recreate",
        wanted=pod,
    )
