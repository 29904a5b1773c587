"""Common mistakes, command by command: one line that names the thing and the cure, exit code 2, nothing written."""

from __future__ import annotations

import pathlib
import re
import signal
import sys

import pytest

from protos.errors import run_cli
from tests.support.exports import write_tiny_export
from tests.test_help import COMMANDS, module_of

SYNTHETIC = "synthetic:users=40,items=50,interactions=900,seed=1"
NO_FORMAT = "expected a directory with ratings.csv"
# Command, its arguments, and what the line must say. {empty} is an empty directory, {file} a file that is nothing,
# {model} an exported model, {out} a place where nothing is yet.
MISTAKES = [
    ("trainer/task.py", "--data /nowhere --job-dir {out}", f"data /nowhere does not exist; {NO_FORMAT}"),
    (
        "trainer/task.py",
        "--data {empty} --job-dir {out}",
        f"{{empty}} holds no known format: found nothing; {NO_FORMAT}",
    ),
    ("trainer/task.py", "--data {file} --job-dir {out}", "{file} is of no known format"),
    ("trainer/task.py", f"--data {SYNTHETIC} --job-dir {{file}}", "{file}: File exists; remove what is there"),
    ("trainer/task.py", f"--data {SYNTHETIC} --job-dir {{file}}/x", "Not a directory; a part of the path is a file"),
    ("trainer/task.py", "--data synthetic --jobdir {out}", "required: --job-dir; did you mean --job-dir by --jobdir?"),
    ("trainer/task.py", "--data synthetic --job-dir {out} --tokenizer.dim x", "flags over it: tokenizer.dim is 'x'"),
    ("trainer/task.py", "--data synthetic --job-dir {out} --tokeniser.dim 8", "did you mean --tokenizer.dim by"),
    ("trainer/task.py", "--data synthetic --job-dir {out} --config {file}", "neither a preset (default) nor a .yaml"),
    ("trainer/task.py", "--data synthetic --job-dir {out} --config {bytes}", "{bytes}: not valid YAML"),
    ("trainer/task.py", "--data synthetic --job-dir {out} --model x", "argument --model: invalid choice: 'x'"),
    ("trainer/task.py", "--data synthetic --job-dir {out} --training.warm_start @x", "'@x' is no YAML; quote it"),
    ("trainer/tune/__main__.py", "--data /nowhere --output {out}", "data /nowhere does not exist"),
    ("trainer/tune/__main__.py", f"--data {SYNTHETIC} --output {{file}}", "cannot write {file}: File exists"),
    (
        "trainer/tune/__main__.py",
        f"--data {SYNTHETIC} --output {{file}} --dry-run",
        "--output {file} is a file; expected a directory",
    ),
    ("trainer/tune/__main__.py", "--data synthetic --output {out} --space {empty}", "--space {empty}: no such file"),
    ("trainer/tune/__main__.py", "--data synthetic --output {out} --trials x", "--trials: invalid int value: 'x'"),
    (
        "trainer/data/__main__.py",
        "check --schema {empty}",
        "schema {empty} is a directory; `python -m trainer.data init",
    ),
    ("trainer/data/__main__.py", "check --schema {bytes}", "{bytes}: not valid YAML"),
    ("trainer/data/__main__.py", "init {empty} --output {out}", "{empty} names no data file; expected a file"),
    ("trainer/data/__main__.py", "chekc", "invalid choice: 'chekc' (choose from "),
    ("trainer/extend.py", "--model {model} --items {file} --output {out}", "--items {file} cannot be read"),
    ("trainer/extend.py", "--model {file} --remove {empty} --output {out}", "--remove {empty} cannot be read"),
    ("beam_index/build.py", "--model /nowhere --output {out}", "/nowhere does not exist; expected a directory holding"),
    ("beam_index/build.py", "--model {file} --output {out}", "{file} is a file; expected a directory holding"),
    ("beam_index/build.py", "--model {empty} --output {out}", "{empty} has no manifest.json"),
    ("beam_index/build.py", "--model {model} --output {file}", "--output {file} exists and is not an index"),
    ("beam_index/build.py", "--model {model} --output {out} --postings-per-cod 3", "did you mean --postings_per_code"),
    ("beam_index/build.py", "--model {model} --output {out} --codes observed --queries {file}", "not a parquet file"),
    ("beam_index/quality/__main__.py", "--model {model} --index {empty}", "{empty} has no manifest.json"),
    ("beam_index/to_parquet.py", "--model {model} --index {file} --output {out}", "{file} is a file; expected"),
    ("beam_index/to_elasticsearch.py", "--model {model} --index /nowhere --output {out}", "/nowhere does not exist"),
    ("beam_index/fill_query.py", "--export {empty} --keys 1 --weights 1", "query.json does not exist; expected what"),
    ("serving/export.py", "--model {model} --index {empty} --output {out}/1", "{empty} has no manifest.json"),
    (
        "serving/export.py",
        "--model {model} --index {empty} --output {out}/one",
        "is the version and must be a positive",
    ),
    ("serving/server.py", "--model_base_path /nowhere --port 0", "/nowhere is not a directory; expected one with"),
    ("serving/server.py", "--model_base_path {empty} --port 0", "no version is under {empty}"),
    ("serving/server.py", "--model_config_file {empty} --port 0", "{empty}: Is a directory; expected a file with"),
    ("serving/server.py", "--port 0", "nothing to serve: expected --model_base_path DIR or --model_config_file FILE"),
    ("serving/client/__main__.py", "--json_input {bytes}", "--json_input {bytes} is no text"),
    ("serving/client/__main__.py", "--json_input {file}", "{file}, line 1: no JSON"),
    ("serving/client/__main__.py", "--address 127.0.0.1:1 --history 1 --k 0", "--k 0: expected at least 1"),
    ("serving/loadtest/__main__.py", "--export {empty} --seconds 1", "queries.parquet is not there; expected the"),
    ("pipeline/recorded.py", "--queries /nowhere --output {out}", "--queries /nowhere: No such file or directory"),
    (
        "pipeline/recorded.py",
        "--queries {model}/queries.parquet --output {empty}",
        "cannot write {empty}: Is a directory",
    ),
    ("pipeline/gate/__main__.py", "--stable a:1 --canary b:1 --queries {file}", "{file}, line 1: no JSON"),
    ("pipeline/probe/__main__.py", "--track a=b:1 --queries /nowhere", "--queries /nowhere: No such file"),
    ("pipeline/compare.py", f"--data {SYNTHETIC} --output {{file}} --models popularity", "{file}: File exists"),
    ("pipeline/compare.py", "--data synthetic --output {out} --models x", "x"),
    ("pipeline/curves/__main__.py", "--model {model} --data /nowhere --output {out}", "data /nowhere does not exist"),
    ("pipeline/demo.py", "--data /nowhere --output {out}", "data /nowhere does not exist"),
    ("pipeline/publish.py", "--data /nowhere --work-dir {out} --to {out}", "data /nowhere does not exist"),
    ("trainer/report/__main__.py", "--job-dir {empty} --data synthetic --output {out}", "{empty}"),
    ("trainer/report/__main__.py", "--job-dir /nowhere --data synthetic --output {out}", "/nowhere"),
    ("benchmarks/input_memory.py", "--events 3", "--events is 3; expected"),
    ("trainer/data/__main__.py", "prepare --data /nowhere --output {out}", "/nowhere does not exist"),
    ("benchmarks/soak.py", "--servable /nowhere", "--servable and --export go together"),
    ("k8s/images/pull_model.py", "--published {empty} --version 1 --output {out}", "{empty} has no version 1"),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, pathlib.Path]:
    root = tmp_path_factory.mktemp("mistakes")
    found = {name: root / name for name in ("empty", "file", "bytes", "model")}
    found["empty"].mkdir()
    found["file"].write_text("hello\n")
    found["bytes"] = root / "bytes.yaml"
    found["bytes"].write_bytes(b"\xff\xfe\x00")
    write_tiny_export(found["model"])
    return found


@pytest.fixture(scope="module", autouse=True)
def _signals():
    """As they were: commands make SIGTERM an exit."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    signal.set_wakeup_fd(-1)


@pytest.mark.parametrize(("path", "arguments", "expected"), MISTAKES)
def test_a_mistake_is_a_line_that_says_what_and_why(path, arguments, expected, places, tmp_path, capsys, monkeypatch):
    named = {name: str(place) for name, place in places.items()} | {"out": str(tmp_path / "out")}
    monkeypatch.delenv("SPARCODE_TRACEBACK", raising=False)
    monkeypatch.setattr(sys, "argv", [path, *arguments.format(**named).split()])
    with pytest.raises(SystemExit) as ended:
        run_cli(module_of(path).main)
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert re.search(re.escape(expected.format(**named)), line)
    assert "Traceback" not in said
    left = [place for place in tmp_path.rglob("*") if place.is_file() and place.name != "lock"]
    assert not left


def test_every_command_is_tried():
    tried = {path for path, *_ in MISTAKES}
    assert set(COMMANDS) - tried <= NOT_TRIED


# What takes no input that can be wrong.
NOT_TRIED = {
    *("serving/list_stock_ops.py", "trainer/config_reference.py"),
    *("benchmarks/index_build.py", "benchmarks/serving/__main__.py"),
}
