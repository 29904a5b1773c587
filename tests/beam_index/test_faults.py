"""What is left of an index when a process is killed, a disk is full, or a file is damaged."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from beam_index.build import run_here
from beam_index.quality.__main__ import main as measure
from beam_index.to_elasticsearch import main as to_elasticsearch
from beam_index.to_parquet import main as to_parquet
from protos.artifact import read_manifest
from protos.errors import UserError
from serving.export import main as to_servable
from tests.beam_index.staged import Catalogue, write_staged_export
from tests.support.exports import TinySpec, write_tiny_export

INDEX_FORMAT = "sparcode.index/3"
SECONDS = 120
PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


@pytest.fixture(scope="module")
def long_export(tmp_path_factory):
    """Scored in seconds: ten tiles, five chunks of codes."""
    spec = TinySpec(num_items=40_000, num_query_tokens=2, num_codewords=640, dim=32, bias=0.5)
    return write_tiny_export(tmp_path_factory.mktemp("long") / "export", spec)


def command(export, index, *options) -> list[str]:
    fixed = ["--no-progress", "--quality_queries=0", *options]
    return [sys.executable, "-m", "beam_index.build", "--model", str(export), "--output", str(index), *fixed]


def snapshot(directory: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def start_and_wait_for_a_block(export, index, *options) -> subprocess.Popen:
    """A build that has written some of its files and not yet all."""
    process = subprocess.Popen(command(export, index, *options), stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + SECONDS
    while not list(index.parent.glob(f".{index.name}.building-*/block-*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.005)
    return process


def descendants(pid: int) -> list[int]:
    """Of a process: ids of those that it started, and of those that they did."""
    found = []
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *descendants(child)]
    return found


def is_worker(pid: int) -> bool:
    line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return line[1:3] == [b"-m", b"apache_beam.runners.worker.sdk_worker_main"]


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("options", [[], PROCESSES], ids=["one process", "worker processes"])
def test_a_build_that_is_killed_leaves_the_old_index_and_the_next_clears_up(
    residual_export, long_export, tmp_path, options
):
    index = tmp_path / "index"
    run_here(["--model", str(residual_export), "--output", str(index), "--no-progress", "--quality_queries=0"])
    before = snapshot(index)
    process = start_and_wait_for_a_block(long_export, index, *options)
    children = descendants(process.pid)
    kill([process.pid, *children])
    process.communicate(timeout=SECONDS)
    assert process.returncode == -signal.SIGKILL
    assert snapshot(index) == before
    (left,) = tmp_path.glob(".index.building-*")
    with pytest.raises(UserError, match="is not a complete"):
        read_manifest(left, INDEX_FORMAT)
    run_here(["--model", str(residual_export), "--output", str(index), "--no-progress", "--quality_queries=0"])
    assert snapshot(index) == before
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.skipif(" " in sys.executable, reason="Beam starts no workers from a path with a space")
def test_a_worker_that_is_killed_fails_the_build_in_one_line(long_export, tmp_path):
    process = start_and_wait_for_a_block(long_export, tmp_path / "index", *PROCESSES)
    workers = [pid for pid in descendants(process.pid) if is_worker(pid)]
    kill(workers[:1])
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 2, errors
    assert errors.splitlines()[-1].startswith("error: a worker process is gone")
    assert not list(tmp_path.iterdir())


def can_mount() -> bool:
    asked = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(asked, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="needs a user namespace that may mount a tmpfs")
@pytest.mark.parametrize("kilobytes", [8, 600])
def test_a_full_disk_is_told_in_one_line(wide_export, tmp_path, kilobytes):
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f'mount -t tmpfs -o size={kilobytes}k tmpfs "{disk}"; "$@"; code=$?; ls -A "{disk}"; exit $code'
    asked = ["unshare", "-rm", "sh", "-c", script, "sh", *command(wide_export, disk / "index")]
    result = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert result.returncode == 2, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: cannot write ")
    assert str(disk) in last
    assert ".tfrecord" in last
    assert "No space left on device" in last
    assert result.stdout == ""


READERS = {
    "servable": lambda model, index, output: to_servable(args(model, index, output / "1")),
    "engine": lambda model, index, output: to_elasticsearch(args(model, index, output)),
    "table": lambda model, index, output: to_parquet(args(model, index, output)),
    "quality": lambda model, index, output: measure(args(model, index, output)),
    "base": lambda model, index, output: run_here(
        ["--model", str(model), "--output", str(output), "--no-progress", "--base_index", str(index), "--updatable"]
    ),
}


def args(model, index, output) -> list[str]:
    return ["--model", str(model), "--index", str(index), "--output", str(output)]


@pytest.mark.parametrize("damage", ["truncated", "changed"])
@pytest.mark.parametrize("kind", ["postings", "block"])
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_shard_is_refused_by_every_reader(updatable, tmp_path, reader, kind, damage):
    model, whole = updatable
    index = shutil.copytree(whole, tmp_path / "index")
    (path,) = index.glob(f"{kind}-*")
    content = path.read_bytes()
    path.write_bytes(content[:-5] if damage == "truncated" else content[:-5] + b"XXXXX")
    found = r"has \d+ bytes" if damage == "truncated" else "does not match the checksum"
    with pytest.raises(UserError, match=rf"{path.name} {found}"):
        READERS[reader](model, index, tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.fixture(scope="module")
def updatable(tmp_path_factory):
    directory = tmp_path_factory.mktemp("updatable")
    export = write_staged_export(directory / "export", Catalogue.random(300))
    options = ["--updatable", "--no-progress", "--quality_queries=0"]
    run_here(["--model", str(export), "--output", str(directory / "index"), *options])
    return export, directory / "index"
