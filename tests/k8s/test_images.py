"""The Dockerfile: linted, pinned, without root, and in step with what is locked and with what is deployed."""

from __future__ import annotations

import fnmatch
import pathlib
import re

import pytest
import yaml

from serving.export import NEWEST_SERVER
from tests.k8s.rendered import APPLIED, pods
from tests.k8s.tools import K8S, ROOT, hadolint, run

DOCKERFILE = K8S / "images" / "Dockerfile"
TARGETS = {"tools", "beam", "trainer", "baked", "server"}
MADE_BY_COMMANDS = ("build/flink", "servable/${VERSION}")  # make flink; serving.export


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments, lines that go on joined."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE))
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, its FROM first."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, arguments in instructions():
        if name == "FROM":
            stage = found.setdefault(arguments.rpartition(" AS ")[2], [])
        if found:
            stage.append((name, arguments))
    return found


def resolved(stage: str) -> list[tuple[str, str]]:
    """The instructions of a stage after those of the stages that it starts from."""
    own = stages()[stage]
    base = own[0][1].partition(" AS ")[0]
    return [*(resolved(base) if base in stages() else ()), *own]


def test_the_linter_finds_nothing() -> None:
    run(hadolint(), DOCKERFILE)


def test_the_linter_would_find_something(tmp_path: pathlib.Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python\nRUN cd /tmp && sudo ls\n")
    with pytest.raises(AssertionError, match="DL3006"):
        run(hadolint(), bad)


def test_every_base_is_pinned_and_can_be_pinned_by_digest() -> None:
    for stage in stages().values():
        base = stage[0][1].partition(" AS ")[0]
        if base not in stages():
            assert re.fullmatch(r"[\w/-]+:\d+\.\d+\.\d+[\w-]*\$\{\w+_DIGEST\}", base), base


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_no_image_runs_as_root_or_through_a_shell(target: str) -> None:
    last = dict(resolved(target))
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"])
    assert isinstance(yaml.safe_load(last["ENTRYPOINT"]), list)


def test_the_server_is_the_one_that_exports_are_made_for() -> None:
    (base,) = re.findall(r"FROM tensorflow/serving:(\d+)\.(\d+)", DOCKERFILE.read_text())
    assert tuple(map(int, base)) == NEWEST_SERVER
    assert dict(resolved("server"))["ENTRYPOINT"] == '["/usr/bin/tensorflow_model_server"]'


def test_the_default_target_is_the_server() -> None:
    assert list(stages())[-1] == "server"


def test_what_is_copied_is_there_and_let_in() -> None:
    patterns = [
        line for line in (K8S / "images" / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for name, arguments in instructions():
        if name == "COPY" and "--from=" not in arguments:
            for source in arguments.split()[:-1]:
                assert source in MADE_BY_COMMANDS or (ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(source, f"{pattern[1:]}*") for pattern in patterns), source


def test_the_gpu_lock_says_nothing_else_than_the_lock() -> None:
    locked, gpu = (_pins(path) for path in (ROOT / "requirements" / "all.txt", K8S / "images" / "gpu.txt"))
    assert gpu["tensorflow"] == locked["tensorflow"]
    assert {name for name in gpu if gpu[name] != locked.get(name)} == {
        name for name in gpu if name.startswith("nvidia-")
    }


def _pins(path: pathlib.Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE))


def test_deployed_images_are_targets() -> None:
    names = {
        image["name"] for image in yaml.safe_load((K8S / "components/images/kustomization.yaml").read_text())["images"]
    }
    assert {name.removeprefix("sparcode-") for name in names} == TARGETS - {"baked"}
    deployed = {container["image"] for name in APPLIED for pod in pods(name) for container in pod.containers}
    ours = {image for image in deployed if "/sparcode/" in image}
    assert {image.rpartition("/")[2].partition(":")[0] for image in ours} == TARGETS - {"baked"}
    assert not [image for image in deployed - ours if image.startswith("sparcode-")], "an overlay without the component"
