"""Every command of the documentation is run as it stands: first the README's, then each page's where they were."""

from __future__ import annotations

import functools
import importlib.util
import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from tests.docs.blocks import NOT_RUN, PAGES, ROOT, Block, blocks_of
from tests.docs.sandbox import make_checkout

_BLOCKS = [block for page in PAGES for block in blocks_of(page)]
_SOURCES = [path for part in ("trainer", "beam_index", "serving", "pipeline", "benchmarks", "tests", "k8s", "protos")
            for path in sorted((ROOT / part).rglob("*.py"))]  # fmt: skip
_MODULE = re.compile(r"python -m ([\w.]+)")
# Servers that a page leaves running end with its shell. What a block prints is part of the failure.
_PROLOGUE = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"


@pytest.mark.parametrize("block", _BLOCKS, ids=str)
def test_a_block_that_is_not_run_says_why(block: Block):
    assert block.mark in ("", *NOT_RUN)


@pytest.mark.parametrize("block", _BLOCKS, ids=str)
def test_modules_and_flags_are_there(block: Block):
    """The least that can be said of commands that are not run: what they name exists."""
    for module in _MODULE.findall(block.text):
        if module.split(".")[0] != "apache_beam":
            assert importlib.util.find_spec(module), f"there is no module {module}"
    for flag in re.findall(r"(?<=[\s\[])--([a-z][\w.-]*)", _of_python(block.text)):
        place = rf'"--{flag}"|class {flag.partition(".")[0]}config|^    {flag.partition(".")[2] or flag}: '
        assert re.search(place, _written(), re.MULTILINE | re.IGNORECASE) or flag in _BEAMS, f"nothing takes --{flag}"


@functools.cache
def _written() -> str:
    """All of the repository's Python."""
    return "\n".join(path.read_text() for path in _SOURCES)


# Options of Apache Beam and of its runners.
_BEAMS = ("runner", "project", "region", "temp_location", "sdk_container_image", "num_workers", "parallelism",
          "environment_type", "environment_config", "spark_master_url", "flink_version", "flink_job_server_jar",
          "flink_master")  # fmt: skip


def _of_python(text: str) -> str:
    """The commands of a block that run this repository's Python, each on one line."""
    lines = text.replace("\\\n", " ").splitlines()
    return "\n".join(line.partition("#")[0] for line in lines if "python" in line or "$BUILD" in line)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A checkout in which the README's commands were run: the other pages begin with what these made."""
    directory = make_checkout(tmp_path_factory.mktemp("checkout"))
    _run("README.md", directory)
    return directory


@pytest.mark.commands
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("page", [page for page in PAGES if any(not block.mark for block in blocks_of(page))])
def test_commands_of(page: str, checkout: pathlib.Path):
    if page != "README.md":
        _run(page, checkout)


def _run(page: str, checkout: pathlib.Path) -> None:
    script = _PROLOGUE + "".join(
        f"echo {shlex.quote(f'## {block}')} $SECONDS s >&2\n{block.text}" for block in blocks_of(page) if not block.mark
    )
    # As a user has it: nothing of this run's own environment but where programs are.
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment["MPLBACKEND"] = "agg"
    log = ROOT / "build" / "docs" / f"{pathlib.Path(page).stem}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        done = subprocess.run(
            ["bash", "-c", script], cwd=checkout, env=environment, stdout=output, stderr=subprocess.STDOUT, timeout=1400
        )
    printed = log.read_text()
    sys.stderr.write("".join(line + "\n" for line in printed.splitlines() if line.startswith("## ")))
    assert done.returncode == 0, f"{page}, see {log}:\n{printed[-4000:]}"
