"""What is rehearsed: the README's commands in order, and what goes wrong in between."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from protos.artifact import writing
from tests.rehearsal.chapters import Shell, read_chapter
from tests.rehearsal.cluster import Cluster, RolloutFailed
from tests.rehearsal.kubelet import LivePod
from tests.rehearsal.traffic import Count, Traffic
from tests.rehearsal.versions import DAMAGED, GOOD, NEXT
from tests.support.metrics import Sample, fetch

_POLL_SECONDS = 0.2
_LONGEST_WAIT = 180.0
_STABLE, _CANARY, _PROBE = "sparcode-server", "sparcode-server-canary", "sparcode-probe"


class WentWrong(Exception):  # noqa: N818  # what the rehearsal is for
    """Something was seen that must not be."""


@dataclasses.dataclass(frozen=True)
class Step:
    """What was seen during a step.

    Attributes:
      name: what was done.
      seconds: that it took.
      requests, failed: of the users, ended in it, and of them not answered.
      versions: how many each version answered.
      leaving: pods on their way out at its end.
      note: what else was seen.
    """

    name: str
    seconds: float
    requests: int
    failed: int
    versions: dict[int, int]
    leaving: int
    note: str


class Script:
    """One rehearsal; each method is a step or some.

    Args:
      cluster, shell, traffic: as they are; the users send from when the first rollout has ended.
      readme: the text of k8s/README.md.
    """

    def __init__(self, cluster: Cluster, shell: Shell, traffic: Traffic, readme: str) -> None:
        self._cluster, self._shell, self._traffic = cluster, shell, traffic
        self._deploy, self._ask = read_chapter(readme, "Deploy")
        self._watch, self._probe = read_chapter(readme, "Watch")
        chapter = read_chapter(readme, "Canary, promote, roll back")
        self._keep, self._dark, self._gate, self._live, self._promote, self._drop_canary, self._back = chapter
        self.steps: list[Step] = []

    @contextlib.contextmanager
    def step(self, name: str, only: set[int] | None = None) -> Iterator[list[str]]:
        """A step; yields the notes on it. No request may fail in it, and none be answered by a version but `only`."""
        print(f"== {name}", flush=True)
        start, before, notes = time.monotonic(), self._traffic.count(), []
        yield notes
        seen = self._traffic.count().since(before)
        note = "; ".join(notes)
        seconds = round(time.monotonic() - start, 1)
        self.steps.append(
            Step(name, seconds, seen.requests, seen.failed, dict(seen.versions), self._cluster.leaving(), note)
        )
        print(f"   {seconds} s, {seen.requests} requests, {seen.failed} failed, by version {seen.versions}  {note}")
        if seen.failed:
            failures = dict(self._traffic.outcome.failures)
            raise WentWrong(f"{name}: {seen.failed} of {seen.requests} requests failed; of all, {failures}")
        if only is not None and not seen.versions.keys() <= only:
            raise WentWrong(f"{name}: only versions {only} may answer users, found {seen.versions}")

    def start(self, users: contextlib.ExitStack) -> None:
        """Deploy, and users who come as soon as there is something to ask."""
        with self.step("start", {GOOD}):
            self._shell.run(self._deploy)
            users.enter_context(self._traffic)
            self._shell.run(self._ask)

    def probe(self) -> None:
        """Watch."""
        with self.step("probe", {GOOD}) as notes:
            self._shell.run(self._watch + self._probe)
            self._wait(lambda: self._probed("sparcode_probe_answers_total", track="stable", version=str(GOOD)))
            if not self._probed("sparcode_probe_published_timestamp_seconds"):
                raise WentWrong("the probe does not say when the version was published")
            notes.append("the probe is answered, and scraped")

    def keep(self) -> None:
        """The nightly publish is told what to keep, before a canary needs it."""
        with self.step("keep", {GOOD}):
            self._shell.run(self._keep)

    def canary(self, version: int) -> None:
        """A canary in the dark: no user hears from it."""
        with self.step(f"canary, dark: version {version}", {GOOD}) as notes:
            self._shell.run(self._shell.set_version(self._dark, version))
            time.sleep(1)
            notes.append(f"{len(self._cluster.pods(_CANARY))} canary ready")

    def gate(self, version: int, passes: bool) -> None:
        """The gate on the canary, which it must pass or not."""
        with self.step(f"gate: version {version}", {GOOD}) as notes:
            code = _exit_code(lambda: self._shell.run(self._gate))
            if code != (0 if passes else 1):
                raise WentWrong(f"the gate's exit code is {code} for version {version}")
            notes.append("passed" if passes else "refused")

    def refuse(self, version: int) -> None:
        """A canary that is worse, refused by the gate and taken away."""
        self.canary(version)
        self.gate(version, passes=False)
        with self.step(f"canary taken away: version {version}", {GOOD}):
            self._shell.run(self._drop_canary)

    def damaged_canary(self) -> None:
        """A canary whose bytes are not those that were published never serves."""
        with self.step(f"canary, damaged: version {DAMAGED}", {GOOD}) as notes:
            notes.append(self._must_fail(self._shell.set_version(self._dark, DAMAGED)))
            self._shell.run(self._drop_canary)

    def promote(self) -> None:
        """Next goes live beside what is stable, and then takes its place, pod by pod."""
        with self.step("canary, live", {GOOD, NEXT}):
            before = self._traffic.count()
            self._shell.run(self._live)
            self._wait(lambda: self._traffic.count().since(before).versions.keys() == {GOOD, NEXT})
        with self.step("promote", {GOOD, NEXT}):
            self._shell.run(self._promote)

    def damaged_promoted(self) -> None:
        """The damaged version, promoted without a canary: the rollout is stuck, and no pod that answers goes."""
        with self.step(f"promoted all the same, damaged: version {DAMAGED}", {GOOD, NEXT}) as notes:
            serving = self._cluster.pods(_STABLE)
            notes.append(self._must_fail(self._shell.set_version(self._promote[:3], DAMAGED)))
            if lost := [pod.name for pod in serving if not pod.ready or pod.terminating]:
                raise WentWrong(f"{lost} went for a version that never came")
            self._shell.run(self._shell.set_version(self._back, NEXT))

    def roll_back(self) -> None:
        """To the version before, at once."""
        with self.step("roll back", {GOOD, NEXT}):
            self._shell.run(self._back)

    def lose_a_pod(self, only: set[int]) -> None:
        """A pod is killed while it answers users."""
        with self.step("lose a pod", only) as notes:
            pod = self._cluster.pods(_STABLE)[0]
            before = _answered(pod)
            self._wait(lambda: _answered(pod) > before)
            pod.lose()
            time.sleep(1)
            self._cluster.wait_for_rollout(_STABLE, _LONGEST_WAIT)
            notes.append(f"{pod.name} was killed, another took its place")

    def outage(self, seconds: float) -> None:
        """All pods that answer are killed at once, which users cannot but notice."""
        for pod in self._cluster.ready_pods({"sparcode.dev/track": "stable"}):
            pod.lose()
        time.sleep(seconds)

    def drain(self, version: int) -> None:
        """All pods that were told to go are gone, and users did not notice; only one version is left."""
        with self.step("drain", {GOOD, NEXT}):
            self._wait(lambda: not self._cluster.leaving())
        with self.step("after all", {version}) as notes:
            time.sleep(3)
            calls = [sample for sample in self._scrape() if sample.name == "sparcode_probe_requests_total"]
            codes = {call.labels["code"]: int(call.value) for call in calls}
            notes.append(f"the probe's calls: {codes}")

    def log(self) -> str:
        """What all pods said."""
        return self._cluster.log("sparcode")

    def write(self, path: pathlib.Path, **more: Any) -> Count:
        """Writes what was seen, and returns the count of all of it."""
        count = self._traffic.count()
        found = {
            "requests": count.requests,
            "failed": count.failed,
            "failures": dict(self._traffic.outcome.failures),
            **more,
            "steps": [dataclasses.asdict(step) for step in self.steps],
            "commands": self._shell.done,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with writing(path):
            path.write_text(json.dumps(found, indent=1) + "\n")
        return count

    def _must_fail(self, commands: list[str]) -> str:
        try:
            self._shell.run(commands)
        except RolloutFailed as error:
            return str(error)
        raise WentWrong(f"a rollout that must fail came to its end: {commands}")

    def _probed(self, name: str, **labels: str) -> bool:
        return any(
            sample.name == name and labels.items() <= sample.labels.items() and sample.value > 0
            for sample in self._scrape()
        )

    def _scrape(self) -> list[Sample]:
        found = self._cluster.pods(_PROBE)
        return fetch(f"{found[0].address}:9100", "/metrics") if found else []

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _LONGEST_WAIT
        while not condition():
            if time.monotonic() > deadline:
                raise WentWrong(f"after {_LONGEST_WAIT:.0f} s there is still not what was waited for")
            time.sleep(_POLL_SECONDS)


def _answered(pod: LivePod) -> float:
    """How many requests a server has answered, as it says itself."""
    counts = [sample for sample in fetch(f"{pod.address}:8501") if sample.name == ":tensorflow:serving:request_count"]
    return sum(count.value for count in counts if count.labels["status"] == "OK")


def _exit_code(run: Callable[[], None]) -> int:
    try:
        run()
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0
