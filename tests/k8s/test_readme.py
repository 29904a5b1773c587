"""The commands of k8s/README.md name what is there."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess

import pytest
import yaml

from tests.k8s.rendered import APPLIED, SERVING, of_kind, render
from tests.k8s.test_images import TARGETS
from tests.k8s.tools import K8S

README = (K8S / "README.md").read_text()
COMMANDS = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))


@pytest.mark.parametrize("directory", sorted(set(re.findall(r"(?:-k|kustomize) k8s/(\S+)", COMMANDS))))
def test_what_is_applied_can_be_rendered(directory: str) -> None:
    assert directory in APPLIED


def test_deployments_jobs_and_steps_are_there() -> None:
    deployments = {resource["metadata"]["name"] for name in SERVING for resource in of_kind(name, "Deployment")}
    assert set(re.findall(r"deployment/(sparcode-server[\w-]*)", COMMANDS)) <= deployments
    steps = {resource["metadata"]["labels"]["step"] for resource in render("pipeline/jobs")}
    (loop,) = re.findall(r"for step in ([\w ]+);", COMMANDS)
    assert set(loop.split()) == steps
    assert {resource["metadata"]["name"] for resource in render("pipeline/jobs")} == {
        f"sparcode-{step}" for step in steps
    }


def test_versions_are_edited_where_they_stand() -> None:
    edits = re.findall(r"sed -i 's/(\S+ )\.\*/\S+ \"\d+\"/' (\S+)", COMMANDS)
    assert edits
    for pattern, path in edits:
        assert len(re.findall(pattern, (K8S.parent / path).read_text())) == 1


def test_targets_are_those_of_the_dockerfile() -> None:
    (loop,) = re.findall(r"for target in ([\w ]+);", COMMANDS)
    assert {*loop.split(), *re.findall(r"--target (\w+)", COMMANDS)} == TARGETS


def test_a_namespace_is_made_before_anything_is_put_into_it() -> None:
    first, second = re.findall(r"kubectl apply (.*)", COMMANDS)[:2]
    (namespace,) = yaml.safe_load_all((K8S.parent / first.removeprefix("--filename ")).read_text())
    assert namespace["kind"] == "Namespace"
    assert {resource["metadata"]["namespace"] for resource in render(second.removeprefix("-k k8s/"))} == {
        namespace["metadata"]["name"]
    }


# A cluster whose job `index` comes to the end in $END, after a minute that was too short.
KUBECTL = """#!/bin/sh
case "$*" in
    *"apply --selector"*) echo "$*" >> applied ;;
    *condition=Failed*index*) test "$END" = Failed ;;
    *condition=Complete*index*) test -e asked && test "$END" = Complete || { touch asked; false; } ;;
    *condition=Failed*) false ;;
esac
"""


@pytest.mark.parametrize(("end", "begun"), [("Complete", 3), ("Failed", 2)])
def test_a_step_is_waited_for_and_none_follows_one_that_failed(end: str, begun: int, tmp_path: pathlib.Path) -> None:
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    (loop,) = re.findall(r"^for step in .*?^done$", COMMANDS, re.DOTALL | re.MULTILINE)
    environment = {"PATH": f"{tmp_path}:{os.defpath}", "END": end}
    subprocess.run(["sh", "-c", loop], cwd=tmp_path, env=environment, timeout=20, check=False)
    assert len((tmp_path / "applied").read_text().splitlines()) == begun
