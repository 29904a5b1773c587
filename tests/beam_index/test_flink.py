"""Whole builds on a real Flink. `make flink` gets it; without it, or without Java, these tests are skipped."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from beam_index.build import run_here
from tests.beam_index.tables import write_table_export
from tests.support import flink

pytestmark = pytest.mark.skipif(flink.missing() is not None, reason=flink.missing() or "")

# Two chunks of codes x three tiles of items, in three files: work and files for both task managers.
OPTIONS = ["--postings_per_code=100", "--num_shards=3", "--no-progress"]
SECONDS_A_BUILD = 240


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with flink.job_server(tmp_path_factory.mktemp("flink")) as running:
        yield running


def build_on_flink(server: flink.JobServer, export: pathlib.Path, index: pathlib.Path) -> subprocess.CompletedProcess:
    """The command line of a build whose Beam workers are threads of the command, one for each slot of Flink."""
    command = [sys.executable, "-m", "beam_index.build", "--model", str(export), "--output", str(index), *OPTIONS]
    beam = ["--runner=FlinkRunner", f"--job_endpoint={server.address}", "--environment_type=LOOPBACK"]
    return subprocess.run(
        [*command, *beam, "--parallelism=2"], capture_output=True, text=True, check=False, timeout=SECONDS_A_BUILD
    )


def files(index: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in index.iterdir()}


def test_the_index_is_that_of_the_default_runner(server, wide_export, tmp_path):
    result = build_on_flink(server, wide_export, tmp_path / "flink")
    assert result.returncode == 0, result.stderr
    assert "codes             320 (all)" in result.stdout
    run_here(["--model", str(wide_export), "--output", str(tmp_path / "default"), *OPTIONS])
    found, expected = files(tmp_path / "flink"), files(tmp_path / "default")
    assert sorted(found) == sorted(expected)
    assert sum(name.startswith(("postings", "block")) for name in found) == 6
    assert [name for name in expected if found[name] != expected[name]] == []
    assert server.said(r"Job .* switched from state RUNNING to FINISHED")
    parts = server.said(r"ScoreTile, .* \((./.)\) .* switched from RUNNING to FINISHED")
    assert sorted(set(parts)) == ["1/2", "2/2"]


def test_the_error_of_a_worker_is_one_line(server, tmp_path):
    table = np.ones((30, 4100), np.float32)
    table[17, 4098] = np.nan
    export = write_table_export(tmp_path / "export", table)
    result = build_on_flink(server, export, tmp_path / "index")
    assert result.returncode == 2, result.stderr
    assert "error: the scorer of" in result.stderr.splitlines()[-1]
    assert "gave nan for code key 17 (slot 0, codes [17]) and item 'item-4098' (row 4098)" in result.stderr
    assert result.stderr.endswith("export the model again\n")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
