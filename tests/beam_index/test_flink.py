"""Whole builds on a real Flink. `make flink` gets it; without it, or without Java, these tests are skipped."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from beam_index.build import run_here
from tests.beam_index.tables import write_table_export
from tests.support import flink

pytestmark = pytest.mark.skipif(bool(flink.missing()), reason=flink.missing())

# Two chunks of codes x three tiles of items, in three files: work and files for both task managers.
OPTIONS = ["--postings_per_code=100", "--num_shards=3", "--no-progress"]
THREADS = ["--environment_type=LOOPBACK"]  # Beam's workers are threads of the command
SECONDS_A_BUILD = 240


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with flink.job_server(tmp_path_factory.mktemp("flink")) as running:
        yield running


@pytest.fixture(scope="module")
def expected(wide_export, tmp_path_factory):
    """The files of an index built by the default runner."""
    index = tmp_path_factory.mktemp("default") / "index"
    run_here(["--model", str(wide_export), "--output", str(index), *OPTIONS])
    return files(index)


def files(index: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in index.iterdir()}


def build_on_flink(server, export: pathlib.Path, index: pathlib.Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "beam_index.build", "--model", str(export), "--output", str(index), *OPTIONS]
    beam = ["--runner=FlinkRunner", f"--job_endpoint={server.address}", "--parallelism=2", *options]
    inside = server.inside([*command, *beam])
    return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=SECONDS_A_BUILD)


def require_equal(index: pathlib.Path, expected: dict[str, bytes]) -> None:
    found = files(index)
    assert sorted(found) == sorted(expected)
    assert sum(name.startswith(("postings", "block")) for name in found) == 5
    assert [name for name in expected if found[name] != expected[name]] == []


def test_the_index_is_that_of_the_default_runner(server, wide_export, expected, tmp_path):
    result = build_on_flink(server, wide_export, tmp_path / "index", *THREADS)
    assert result.returncode == 0, result.stderr
    assert "codes             320 (all)" in result.stdout
    require_equal(tmp_path / "index", expected)
    assert server.said(r"Job .* switched from state RUNNING to FINISHED")
    parts = server.said(r"{Score\b.* \((./.)\) .* switched from RUNNING to FINISHED")
    assert sorted(set(parts)) == ["1/2", "2/2"]


def test_the_index_is_the_same_from_several_worker_processes(server, wide_export, expected, tmp_path):
    log = tmp_path / "workers.log"
    with flink.worker_pool(server, log) as address:
        processes = ["--environment_type=EXTERNAL", f"--environment_config={address}", "--sdk_worker_parallelism=2"]
        result = build_on_flink(server, wide_export, tmp_path / "index", *processes)
    assert result.returncode == 0, result.stderr
    assert log.read_text().count("Starting worker with command") >= 2
    require_equal(tmp_path / "index", expected)


def test_the_error_of_a_worker_is_one_line(server, tmp_path):
    table = np.ones((30, 4100), np.float32)
    table[17, 4098] = np.nan
    export = write_table_export(tmp_path / "export", table)
    result = build_on_flink(server, export, tmp_path / "index", *THREADS)
    assert result.returncode == 2, result.stderr
    assert "ERROR:root" not in result.stderr  # the worker itself prints its trace, nobody else does
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"error: the scorer of {export} gave nan for code key 17 (slot 0, codes [17]) and item ")
    assert last.endswith("export the model again")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
