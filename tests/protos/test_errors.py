"""How commands end: each in a process of its own that does nothing but go wrong."""

from __future__ import annotations

import errno
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf

from protos.errors import UserError, _to_be_mended

ROOT = pathlib.Path(__file__).parents[2]
PROLOGUE = """
import multiprocessing, os, pathlib, sys, tempfile, time
from protos.errors import UserError, run_cli
def main(argv):
"""


def script(body: str) -> list[str]:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return [sys.executable, "-c", f"{PROLOGUE}{lines}if __name__ == '__main__':\n    run_cli(main)\n"]


def ran(body: str, *flags: str, **named) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "SPARCODE_TRACEBACK"}
    return subprocess.run(
        [*script(body), *flags], cwd=ROOT, env=environment | named.pop("env", {}), text=True, timeout=60, check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **named},
    )  # fmt: skip


def test_what_main_returns_is_the_exit_code():
    assert [ran(f"return {code}").returncode for code in (None, 0, 1)] == [0, 0, 1]


def test_an_error_of_the_user_is_a_line():
    ended = ran("raise UserError('--x is 1; expected 2')")
    assert (ended.returncode, ended.stderr) == (2, "error: --x is 1; expected 2\n")


def test_its_stack_trace_is_there_for_who_asks():
    ended = ran("raise UserError('x')", env={"SPARCODE_TRACEBACK": "1"})
    assert ended.returncode == 2
    assert ended.stderr.startswith("Traceback")
    assert ended.stderr.endswith("error: x\n")


def test_a_fault_of_the_program_leaves_its_stack_trace_in_a_file(tmp_path):
    ended = ran("return 1 / 0", env={"TMPDIR": str(tmp_path)})
    assert ended.returncode == 70
    assert ended.stderr.startswith("error: ZeroDivisionError: division by zero\nThis is a fault of the program")
    (log,) = tmp_path.iterdir()
    assert str(log) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Traceback" in log.read_text()
    assert "ZeroDivisionError" in log.read_text()


@pytest.mark.parametrize("wish", ["1", "faults"])
def test_or_in_the_log_for_who_asks(wish, tmp_path):
    named = {"env": {"TMPDIR": str(tmp_path), "SPARCODE_TRACEBACK": wish}}
    ended = ran("return 1 / 0", **named)
    assert ended.returncode == 70
    assert ended.stderr.count("Traceback") == 1
    assert not list(tmp_path.iterdir())
    assert ("Traceback" in ran("raise UserError('x')", **named).stderr) == (wish == "1")


def test_where_no_file_can_be_written_a_fault_shows_its_stack_trace():
    ended = ran("return 1 / 0", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert ended.returncode == 70
    assert "Traceback" in ended.stderr
    assert "report it with the lines above" in ended.stderr


def test_files_that_cannot_be_had_are_named_with_a_cure(tmp_path):
    ended = ran("open(argv[0], 'w')", str(tmp_path))
    assert (ended.returncode, ended.stderr) == (2, f"error: {tmp_path}: Is a directory; expected a file\n")
    ended = ran("pathlib.Path(argv[0]).read_text()", str(tmp_path / "none"))
    assert (ended.returncode, ended.stderr) == (
        2, f"error: {tmp_path / 'none'}: No such file or directory; check the path\n",
    )  # fmt: skip


def test_a_full_disk_is_an_error_in_a_line():
    with open("/dev/full", "w") as full:
        ended = ran("print('x' * 100_000)", stdout=full)
    assert ended.returncode == 2
    assert re.fullmatch(r"error: .*No space left on device; free some space, .*\n", ended.stderr)


def test_a_file_larger_than_allowed_is_an_error_in_a_line(tmp_path):
    ended = ran(
        "open(argv[0], 'w').write('x' * 100_000)",
        str(tmp_path / "file"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert ended.returncode == 2
    assert "File too large; allow larger files (ulimit -f)" in ended.stderr


def test_an_error_of_tensorflow_is_told_in_the_systems_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(tf.errors.OpError) as raised:
        tf.io.write_file(str(tmp_path / "file" / "x"), "text")
    said = _to_be_mended(raised.value)
    assert said is not None
    assert str(tmp_path) in said
    assert os.strerror(errno.ENOTDIR) in said
    assert not re.search(r"\{\{|\[Op:", said)
    assert _to_be_mended(ValueError("No space left on device")) is None
    assert _to_be_mended(UserError("x")) == "x"


def test_who_reads_no_further_ends_the_command_quietly():
    with subprocess.Popen(
        script("while True: print('x' * 1000)"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "inter")]
)
def test_a_signal_ends_it_as_an_error_would(number, code, said, tmp_path):
    """What is half made is removed, and other processes of the command end with it."""
    # Where tests are run in the background, they and what they start are born deaf to Ctrl-C.
    body = """\
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(100,), daemon=True)
child.start()
with tempfile.TemporaryDirectory() as half_made:
    print(child.pid, flush=True)
    time.sleep(100)"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        script(body), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        child = int(process.stdout.readline())
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        assert process.wait(60) == code
        errors = process.stderr.read()
    assert errors.startswith(said)
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
    assert not pathlib.Path(f"/proc/{child}").exists()


def test_a_call_that_never_comes_back_does_not_keep_it():
    body = """\
import ctypes, protos.errors
protos.errors._PATIENCE_SECONDS = 0.3
mutex = ctypes.create_string_buffer(64)
print("locked", flush=True)
while True: ctypes.CDLL(None).pthread_mutex_lock(mutex)"""
    with subprocess.Popen(script(body), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143


def test_a_handler_of_the_command_has_the_time_it_takes():
    body = """\
import protos.errors, signal
protos.errors._PATIENCE_SECONDS = 0.2
signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), os.write(1, b"done\\n"), os._exit(0)))
print("ready", flush=True)
while True: time.sleep(0.1)"""
    with subprocess.Popen(script(body), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "done\n"
        assert process.wait(60) == 0


def test_a_command_may_end_the_processes_it_has_forked_and_goes_on():
    """Also those that have hardly begun: a signal that came while they were forked is not lost."""
    body = """\
import protos.errors
protos.errors._PATIENCE_SECONDS = 0.2
codes = []
for delay in [0] * 40 + [0.02] * 5:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(100,), daemon=True)
    child.start()
    time.sleep(delay)
    child.terminate()
    child.join(10)
    codes.append(child.exitcode)
time.sleep(0.5)
print(set(codes))"""
    ended = ran(body)
    assert (ended.returncode, ended.stdout) == (0, "{-15}\n")


@pytest.mark.parametrize(("argv", "said"), [("-m", "interrupted\n"), ("mine.py", "Traceback")])
def test_an_interrupt_while_a_command_is_imported_is_a_line_and_a_library_leaves_hooks_alone(argv, said):
    body = f"import sys; sys.argv[0] = {argv!r}; import protos; raise KeyboardInterrupt"
    environment = {name: value for name, value in os.environ.items() if name != "SPARCODE_TRACEBACK"}
    ended = subprocess.run(
        [sys.executable, "-c", body], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGINT  # what a shell calls 130
    assert ended.stderr.startswith(said)
