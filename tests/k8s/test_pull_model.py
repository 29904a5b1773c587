"""A version that is pulled into a pod is the one that was published, whole, or it is not there."""

from __future__ import annotations

import importlib.util
import pathlib
import shutil
import subprocess
import sys

import pytest

from protos.artifact import MANIFEST
from protos.errors import UserError
from protos.servable import EXTRA, SERVABLE_FORMAT
from serving.export import main
from tests.k8s.tools import K8S, ROOT
from tests.support.exports import TinySpec, write_tiny_export
from tests.support.indexes import TinyIndexSpec, write_tiny_index

SCRIPT = K8S / "images" / "pull_model.py"
_spec = importlib.util.spec_from_file_location("pull_model", SCRIPT)
pull_model = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pull_model)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Version 3, as serving.export writes it; not to be changed."""
    root = tmp_path_factory.mktemp("exported")
    model = write_tiny_export(root / "model", TinySpec())
    index = write_tiny_index(root / "index", model, TinyIndexSpec())
    main([f"--model={model}", f"--index={index}", f"--output={root / 'published' / '3'}"])
    return root / "published"


@pytest.fixture
def published(exported: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """The same, to be damaged."""
    return pathlib.Path(shutil.copytree(exported, tmp_path / "published"))


def files(directory: pathlib.Path) -> dict[str, bytes]:
    """What is under a directory."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_a_version_arrives_as_it_was_published(published: pathlib.Path, tmp_path: pathlib.Path) -> None:
    target = pull_model.pull(str(published), 3, tmp_path / "models")
    assert target == tmp_path / "models" / "3"
    assert files(target) == files(published / "3")
    assert [path.name for path in target.parent.iterdir()] == ["3"]


def test_a_container_that_starts_again_pulls_again(published: pathlib.Path, tmp_path: pathlib.Path) -> None:
    target = pull_model.pull(str(published), 3, tmp_path / "models")
    (target / "saved_model.pb").write_bytes(b"half")
    assert files(pull_model.pull(str(published), 3, tmp_path / "models")) == files(published / "3")


@pytest.mark.parametrize("damage", ["changed", "truncated", "missing", "no manifest", "another format"])
def test_a_damaged_version_never_arrives(damage: str, published: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (file,) = (published / "3" / "variables").glob("*.data-*")
    manifest = published / "3" / EXTRA / MANIFEST
    if damage == "missing":
        file.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "another format":
        manifest.write_text(manifest.read_text().replace(SERVABLE_FORMAT, "sparcode.index/1"))
    else:
        content = file.read_bytes()
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:] if damage == "changed" else content[:-1])
    with pytest.raises(UserError):
        pull_model.pull(str(published), 3, tmp_path / "models")
    assert not list((tmp_path / "models").iterdir())


def test_a_version_that_is_not_published_is_named_with_those_that_are(
    published: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    flags = [f"--published={published}", "--version=4", f"--output={tmp_path / 'models'}"]
    result = subprocess.run(
        [sys.executable, SCRIPT, *flags],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr == f"error: {published} has no version 4, only 3; publish it, or pin one that is there\n"
