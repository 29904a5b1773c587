"""The walls of the house: which room may import which, what a client needs, what is locked and packaged."""

from __future__ import annotations

import ast
import email
import json
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).parent.parent
MAY_IMPORT = {
    "protos": set(),
    "trainer": {"protos"},
    "beam_index": {"protos"},
    "serving": {"protos"},
    "pipeline": {"protos", "trainer", "beam_index", "serving"},
}
OURS = {*MAY_IMPORT, "tests", "benchmarks"}
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROTOS = sorted((ROOT / "protos").glob("*.proto"))


def run(*command: object, cwd: pathlib.Path = ROOT) -> str:
    """Standard output of a command, which must succeed."""
    result = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


# --- The rooms do not import one another ---------------------------------------------------------


def imported_roots(source: str) -> set[str]:
    """Top-level names that a module imports anywhere, `import_module("...")` and `__import__` included."""
    roots = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            roots.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                roots.add(str(node.args[0].value).split(".")[0])
    return roots


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    paths = sorted((ROOT / room).rglob("*.py"))
    assert paths
    forbidden = OURS - MAY_IMPORT[room] - {room}
    trespasses = {
        str(path.relative_to(ROOT)): sorted(found)
        for path in paths
        if (found := imported_roots(path.read_text()) & forbidden)
    }
    assert trespasses == {}


@pytest.mark.parametrize(
    "source",
    [
        "import trainer",
        "import os, trainer.model as m",
        "def late():\n    from trainer.model import SparCode",
        "import importlib\nimportlib.import_module('trainer.model')",
        "__import__('trainer')",
    ],
)
def test_every_way_to_import_a_room_is_seen(source: str) -> None:
    assert "trainer" in imported_roots(source)


def test_a_name_like_a_room_is_not_a_room() -> None:
    assert imported_roots("from serving.trainer import x\nfrom .trainer import y\nimport trainers") == {
        "serving",
        "trainers",
    }


# --- A client needs nothing but the base install -------------------------------------------------

# Refuses whatever the client's lock does not hold, as if it were not installed.
ONLY_CLIENT_LOCK = """
import importlib, importlib.metadata, json, re, sys

allowed, modules = map(json.loads, sys.argv[1:])
name = lambda distribution: re.sub("[-_.]+", "-", distribution).lower()
refused = {
    root
    for root, distributions in importlib.metadata.packages_distributions().items()
    if not {name(distribution) for distribution in distributions} & set(allowed)
}

class Refuse:
    def find_spec(self, module, path=None, target=None):
        if module.split(".")[0] in refused:
            raise ModuleNotFoundError(f"{module} is not in the client's lock")

sys.meta_path.insert(0, Refuse())
for module in modules:
    importlib.import_module(module)
"""


def import_as_client(
    *modules: str, besides: Sequence[str] = (), lock: str = "client"
) -> subprocess.CompletedProcess[str]:
    allowed = json.dumps(["sparcode", *pins(ROOT / "requirements" / f"{lock}.txt"), *besides])
    command = [sys.executable, "-c", ONLY_CLIENT_LOCK, allowed, json.dumps(modules)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_client_modules_import_without_tensorflow() -> None:
    result = import_as_client("serving", "serving.client", "protos.errors", "protos.predict_pb2")
    assert result.returncode == 0, result.stderr


def test_what_watches_servers_needs_no_tensorflow() -> None:
    result = import_as_client("pipeline.gate.__main__", "pipeline.recorded")
    assert result.returncode == 0, result.stderr
    result = import_as_client("pipeline.probe.__main__", besides=["prometheus-client"])
    assert result.returncode == 0, result.stderr


def test_what_frontends_of_search_engines_import_needs_numpy_besides() -> None:
    # protos.progress is for commands that work for long: it needs tqdm, and nothing else in protos may need it.
    modules = [f"protos.{path.stem}" for path in (ROOT / "protos").glob("[!_]*.py") if path.stem != "progress"]
    result = import_as_client("beam_index.search_engine.query", *modules, besides=["numpy"])
    assert result.returncode == 0, result.stderr


def test_what_pulls_a_model_into_a_pod_needs_what_the_tools_have() -> None:
    modules = ("k8s.images.pull_model", "protos.storage", "serving.client", "gcsfs", "s3fs")
    result = import_as_client(*modules, lock="tools")
    assert result.returncode == 0, result.stderr


def test_what_trains_builds_and_publishes_needs_what_their_images_have() -> None:
    modules = ("pipeline.publish", "trainer.task", "beam_index.build", "serving.export", "gcsfs", "s3fs")
    result = import_as_client(*modules, "apache_beam.runners.worker.worker_pool_main", lock="all")
    assert result.returncode == 0, result.stderr


def test_the_client_check_refuses_tensorflow() -> None:
    result = import_as_client("tensorflow")
    assert result.returncode != 0
    assert "tensorflow is not in the client's lock" in result.stderr


# --- Generated messages --------------------------------------------------------------------------


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.name)
def test_generated_messages_are_up_to_date(proto: pathlib.Path, tmp_path: pathlib.Path) -> None:
    run(sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"protos/{proto.name}")
    generated = pathlib.Path("protos", f"{proto.stem}_pb2.py")
    assert (ROOT / generated).read_text() == (tmp_path / generated).read_text(), "run `make protos`"


def test_no_generated_messages_without_their_proto() -> None:
    assert {path.stem for path in PROTOS} == {
        path.stem.removesuffix("_pb2") for path in (ROOT / "protos").glob("*_pb2.py")
    }


# --- Locks ---------------------------------------------------------------------------------------


def pins(lock: pathlib.Path) -> dict[str, str]:
    """Name -> version of a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE))


def test_the_locks_are_there() -> None:
    assert [lock.name for lock in LOCKS] == ["all.txt", "bootstrap.txt", "client.txt", "dev.txt", "tools.txt"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_requirement_is_pinned_with_hashes(lock: pathlib.Path) -> None:
    joined = lock.read_text().replace("\\\n", " ")
    lines = [line.strip() for line in joined.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert lines
    pinned = re.compile(r"[a-z0-9-]+==[^\s;]+(\s*;[^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+")
    assert [line for line in lines if not pinned.fullmatch(line)] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_no_host_and_no_path(lock: pathlib.Path) -> None:
    text = lock.read_text()
    assert re.findall(r"\w+://\S*|--(?:extra-)?index-url.*|--find-links.*|(?<=\s)/\S+", text) == []


@pytest.mark.parametrize("lock", ["client", "tools", "all"])
def test_what_is_deployed_runs_at_the_versions_that_are_tested(lock: str) -> None:
    assert pins(ROOT / "requirements" / f"{lock}.txt").items() <= pins(ROOT / "requirements" / "dev.txt").items()


def test_no_tool_of_developers_is_deployed() -> None:
    assert not {"pytest", "ruff", "moto", "hypothesis"} & pins(ROOT / "requirements" / "all.txt").keys()


# --- The installation ----------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """What `requirements/install` reads, and a `bin` with all that it runs but a Python."""
    checkout = tmp_path / "a path with spaces"
    shutil.copytree(ROOT / "requirements", checkout / "requirements")
    shutil.copy(ROOT / "setup.py", checkout)
    (checkout / "bin").mkdir()
    for tool in ("cat", "cksum", "dirname", "rm", "sh"):
        (checkout / "bin" / tool).symlink_to(shutil.which(tool))
    return checkout


def install(checkout: pathlib.Path) -> subprocess.CompletedProcess[str]:
    command = checkout / "requirements" / "install"
    return subprocess.run([command], env={"PATH": str(checkout / "bin")}, capture_output=True, text=True)


def script(path: pathlib.Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_without_python_3_11_the_install_says_so(checkout: pathlib.Path) -> None:
    script(checkout / "bin" / "python3", "echo Python 3.13.1; exit 1")
    result = install(checkout)
    assert result.returncode == 1
    assert "no Python 3.11 found (tried python3.11, python3; python3 is Python 3.13.1)" in result.stderr
    assert "make PYTHON=/path/to/python3.11" in result.stderr


def test_without_venv_the_install_names_the_package(checkout: pathlib.Path) -> None:
    script(checkout / "bin" / "python3.11", 'case "$2" in *ensurepip*) exit 1 ;; esac')
    result = install(checkout)
    assert result.returncode == 1
    assert "python3.11 has no venv module; on Debian: apt-get install python3.11-venv" in result.stderr


def test_an_environment_that_holds_the_lock_is_left_alone_until_the_lock_changes(checkout: pathlib.Path) -> None:
    locked = "cat requirements/bootstrap.txt requirements/dev.txt setup.py requirements/install; pwd"
    stamp = run("sh", "-c", f"{{ {locked}; }} | cksum", cwd=checkout)
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "installed").write_text(stamp)
    done = install(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with (checkout / "requirements" / "dev.txt").open("a") as lock:
        lock.write("# changed\n")
    assert "no Python 3.11 found" in install(checkout).stderr  # it went on to install


# --- The distribution ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy so that nothing is left in the checkout."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for room in MAY_IMPORT:
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", copy / "dist", copy)
    (path,) = (copy / "dist").glob("sparcode-*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def requirements(metadata: email.message.Message, extra: str = "") -> dict[str, Requirement]:
    """Name -> requirement of the base install, or of an extra."""
    every = (Requirement(line) for line in metadata.get_all("Requires-Dist"))
    wanted = (r for r in every if (r.marker.evaluate({"extra": extra}) if r.marker else not extra))
    return {canonicalize_name(requirement.name): requirement for requirement in wanted}


def test_the_wheel_holds_every_module_preset_style_and_proto_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    paths = [*(path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py")), *PROTOS]
    paths += [*(ROOT / "trainer" / "presets").rglob("*.yaml"), ROOT / "trainer" / "report" / "page.css"]
    assert shipped == {path.relative_to(ROOT).as_posix() for path in paths}


def test_the_licence_is_named_and_shipped(wheel: zipfile.ZipFile, metadata: email.message.Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert any(name.endswith("/LICENSE") for name in wheel.namelist())


def test_the_base_install_is_a_client(metadata: email.message.Message) -> None:
    assert set(requirements(metadata)) == {"grpcio", "protobuf"}


def test_each_room_has_an_extra(metadata: email.message.Message) -> None:
    assert set(metadata.get_all("Provides-Extra")) == {"trainer", "beam", "serving", "storage", "all", "dev"}
    parts = [requirements(metadata, extra).keys() for extra in ("trainer", "beam", "serving", "storage")]
    assert requirements(metadata, "all").keys() == set().union(*parts)


def test_the_lock_holds_what_the_distribution_asks_for(metadata: email.message.Message) -> None:
    locked = pins(ROOT / "requirements" / "dev.txt")
    asked = requirements(metadata) | requirements(metadata, "dev")
    unmet = {str(r): locked.get(name) for name, r in asked.items() if locked.get(name) not in r.specifier}
    assert unmet == {}, "run `make lock`"
