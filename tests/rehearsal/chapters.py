"""The commands of k8s/README.md, chapter by chapter, and what each does to a rehearsal's cluster."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import subprocess
import sys

from tests.k8s.tools import kustomize, run
from tests.rehearsal.cluster import Cluster
from tests.rehearsal.containers import ROOT

_PYTHON = ".venv/bin/python"


def read_chapter(text: str, title: str) -> list[list[str]]:
    """The commands under a heading, in groups: those that follow a comment belong to it, each block begins anew."""
    (chapter,) = re.findall(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    groups: list[list[str]] = []
    for block in re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL):
        groups.append([])
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("#"):
                groups.append([])
            elif line.strip():
                groups[-1].append(line.strip())
    return [group for group in groups if group]


class Shell:
    """Carries out commands as they stand in the README.

    Args:
      cluster: that kubectl speaks to.
      directory: where they are run: it has a copy of k8s/ and a run/export.
      gate_flags: that `pipeline.gate` is given besides.
    """

    def __init__(self, cluster: Cluster, directory: pathlib.Path, gate_flags: list[str]) -> None:
        self._cluster, self._directory, self._gate_flags = cluster, directory, gate_flags
        self._forwarded: dict[str, str] = {}
        self.done: list[str] = []

    def run(self, commands: list[str]) -> None:
        """Carries out one command after the other.

        Raises:
          RolloutFailed: as kubectl would say it.
          subprocess.CalledProcessError: a command failed.
        """
        for command in commands:
            self.done.append(command)
            words = shlex.split(command.removesuffix(" &"))
            if words[0] == "kubectl":
                self._kubectl(words[1:])
            elif words[0] == _PYTHON:
                self._python(words[1:])
            elif words[0] == "sed":
                subprocess.run(words, cwd=self._directory, check=True)
            else:
                raise AssertionError(f"the rehearsal does not know {command!r}")

    def set_version(self, commands: list[str], version: int) -> list[str]:
        """The same commands for another version than theirs."""
        return [re.sub(r'version: "\d+"', f'version: "{version}"', command) for command in commands]

    def _kubectl(self, words: list[str]) -> None:
        words = [word for place, word in enumerate(words) if "--namespace" not in (word, *words[place - 1 : place])]
        timeout = next((float(w[10:-1]) * 60 for w in words if w.startswith("--timeout=")), 0.0)
        words = [word for word in words if not word.startswith("--timeout=")]
        match words:
            case ["apply", "-k", "k8s/pipeline"]:  # what publishes at night is no part of a rollout
                run(*kustomize(), self._directory / "k8s/pipeline")
            case ["apply", "-k", directory]:
                self._cluster.apply(self._directory / directory)
            case ["delete", "-k", directory]:
                self._cluster.delete(self._directory / directory)
            case ["rollout", "status", target]:
                self._cluster.wait_for_rollout(target.removeprefix("deployment/"), timeout)
            case ["port-forward", target, ports]:
                self._forward(target.removeprefix("deployment/"), ports)
            case _:
                raise AssertionError(f"the rehearsal's kubectl does not know {words}")

    def _forward(self, name: str, ports: str) -> None:
        """A pod can be reached as it is: what is asked at the forwarded port is asked there."""
        local, _, remote = ports.partition(":")
        self._forwarded[f"127.0.0.1:{local}"] = f"{self._cluster.pods(name)[0].address}:{remote or local}"

    def _python(self, words: list[str]) -> None:
        words = [self._forwarded.get(word, word) for word in words]
        if words[:2] == ["-m", "pipeline.gate"]:
            words += self._gate_flags
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path}
        result = subprocess.run(
            [sys.executable, *words], cwd=self._directory, env=environment, capture_output=True, text=True, check=False
        )
        print(result.stdout, end="", flush=True)
        if result.returncode:
            print(result.stderr, end="", flush=True)
            raise subprocess.CalledProcessError(result.returncode, words, result.stdout, result.stderr)
