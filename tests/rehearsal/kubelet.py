"""A pod that lives: pulled, started, probed, restarted and ended as the kubelet does it."""

from __future__ import annotations

import pathlib
import subprocess
import threading
import time
from collections.abc import Mapping
from typing import Any

from tests.k8s.rendered import Pod
from tests.rehearsal.containers import command_line, is_healthy, start
from tests.rehearsal.pace import Pace
from tests.rehearsal.volumes import Volumes

_TICK_SECONDS = 0.1
_BACK_OFF_SECONDS = 10  # doubled with each failure
_ALWAYS_HEALTHY: Mapping[str, Any] = {}


class LivePod:
    """Runs one pod in a thread of its own.

    Attributes:
      name, address: of this pod alone.
      pod: as rendered.
      ready: whether it may be sent requests.
      terminating: whether it was told to go; it still answers, as long as `preStop` says.
      gone: whether nothing of it runs any more.
      failures: how often a container of it ended by itself.
    """

    def __init__(self, name: str, address: str, pod: Pod, volumes: Volumes, log: pathlib.Path, pace: Pace, names: str):
        self.name, self.address, self.pod = name, address, pod
        self.ready = self.terminating = self.gone = False
        self.failures = 0
        self._log, self._pace = log, pace
        (self._container,) = pod.spec["containers"]
        self._commands = {
            container["name"]: command_line(container, volumes, address, pace, names) for container in pod.containers
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._lost = threading.Event()
        self._told_to_go = threading.Event()
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def terminate(self) -> None:
        """Tells it to go: no new client learns of it, and it has its grace."""
        self.terminating = True
        self._told_to_go.set()

    def lose(self) -> None:
        """Kills it, here and now, as a node that dies does."""
        self._lost.set()
        self.terminating = True
        if self._process is not None:
            self._process.kill()

    def wait_until_gone(self) -> None:
        """Returns when nothing of it runs."""
        self._thread.join()

    def log(self) -> str:
        """What its containers said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def _ending(self) -> bool:
        return self._told_to_go.is_set() or self._lost.is_set()

    def _live(self) -> None:
        try:
            while not self._ending:
                if self._run_init_containers():
                    self._run_container()
                if not self._ending:
                    self.failures += 1
                    self._told_to_go.wait(self._pace.seconds(_BACK_OFF_SECONDS * 2 ** (self.failures - 1)))
        finally:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self.ready, self.gone = False, True

    def _run_init_containers(self) -> bool:
        for container in self.pod.spec.get("initContainers", ()):
            self._process = start(self._commands[container["name"]], self._log)
            while self._process.poll() is None:
                if self._ending:
                    return False
                time.sleep(_TICK_SECONDS)
            if self._process.returncode != 0:
                return False
        return True

    def _run_container(self) -> None:
        """Until it ends by itself, despair of its health ends it, or its time to go has come."""
        self._process = start(self._commands[self._container["name"]], self._log)
        if self._wait_for_start():
            readiness, liveness = (
                _Watch(self._container.get(name, _ALWAYS_HEALTHY), self._pace)
                for name in ("readinessProbe", "livenessProbe")
            )
            while self._process.poll() is None and not self._ending and not self._despaired(liveness):
                self.ready = self._is_healthy(readiness)
                time.sleep(_TICK_SECONDS)
            if self._told_to_go.is_set() and not self._lost.is_set():
                self._leave()
        self.ready = False
        self._process.kill()
        self._process.wait()

    def _wait_for_start(self) -> bool:
        watch = _Watch(self._container.get("startupProbe", _ALWAYS_HEALTHY), self._pace)
        while self._process.poll() is None and not self._ending:
            if self._is_healthy(watch):
                return True
            if watch.failed >= watch.threshold:
                return False
            time.sleep(_TICK_SECONDS)
        return False

    def _is_healthy(self, watch: _Watch) -> bool:
        if watch.is_due():
            watch.heard(not watch.probe or is_healthy(watch.probe, self.address, self._container, self._pace))
        return watch.healthy

    def _despaired(self, watch: _Watch) -> bool:
        self._is_healthy(watch)
        return watch.failed >= watch.threshold

    def _leave(self) -> None:
        """preStop, and then what is left of the grace: the stock server does not act on SIGTERM, so none is sent."""
        stop = self._container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        grace = self.pod.spec.get("terminationGracePeriodSeconds", 30) if stop else 0
        deadline = time.monotonic() + self._pace.seconds(max(stop, grace))
        while time.monotonic() < deadline and not self._lost.is_set():
            time.sleep(_TICK_SECONDS)


class _Watch:
    """One probe over time: healthy from its first success, until it has failed as often in a row as is borne."""

    def __init__(self, probe: Mapping[str, Any], pace: Pace) -> None:
        self.probe, self._period = probe, pace.seconds(probe.get("periodSeconds", 10))
        self.threshold = probe.get("failureThreshold", 3)
        self.failed, self.healthy, self._due = 0, False, time.monotonic()

    def is_due(self) -> bool:
        if time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + self._period
        return True

    def heard(self, success: bool) -> None:
        self.failed = 0 if success else self.failed + 1
        self.healthy = success or (self.healthy and self.failed < self.threshold)
