"""How the conformance suite is run: without TensorFlow, over TLS, and on a server that a script finds and starts."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import grpc
import pytest

from protos.errors import UserError
from serving.options import ServerOptions
from serving.server import EmbeddedServer
from tests.conformance.endpoint import Settings
from tests.conformance.stock_server import BINARY, main
from tests.support.certificates import Authority

ROOT = pathlib.Path(__file__).parents[2]
# Runs the suite in a process where nothing of TensorFlow can be imported.
WITHOUT_TENSORFLOW = """
import sys
for name in ("tensorflow", "tensorflow_serving", "tf_keras", "keras", "trainer"):
    sys.modules[name] = None
import pytest
sys.exit(pytest.main(["--confcutdir", "tests/conformance", "tests/conformance", *sys.argv[1:]]))
"""
# Takes the flags of tensorflow_model_server and runs the embedded server with those that it has.
STAND_IN = """#!{python}
import os, sys
given = [flag for flag in sys.argv[1:] if not flag.startswith(("--enable_", "--batching_"))]
print("stand-in", *sys.argv[1:], flush=True)
os.chdir({root!r})
os.execv(sys.executable, [sys.executable, "-m", "serving.server", *given])
"""


@pytest.fixture(scope="module")
def base_path(world):
    return world(sums="completed").directory.parent


def run_suite(settings, *arguments):
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, *arguments]
    environment = os.environ | settings.to_environment()
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_suite_asks_over_mutual_tls_and_needs_no_tensorflow(base_path, tmp_path):
    authority = Authority(tmp_path)
    server_pair, client = authority.issue_server(), authority.issue_client()
    trusted = authority.certificate.read_bytes()
    credentials = grpc.ssl_server_credentials([server_pair.read()], trusted, require_client_auth=True)
    with EmbeddedServer(base_path, port=0, options=ServerOptions(credentials=credentials)) as server:
        files = [str(path) for path in (authority.certificate, client.certificate, client.key)]
        done = run_suite(Settings(server.address, "sparcode", *files), "-k", "test_metadata or explanations")
        assert done.returncode == 0, done.stdout
        assert " passed" in done.stdout
        refused = run_suite(Settings(server.address, "sparcode", files[0]), "-k", "available")
    assert refused.returncode == 1
    assert "UNAVAILABLE" in refused.stdout


@pytest.fixture
def path_of_binaries(tmp_path, monkeypatch):
    """A directory that is all of the PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def write_script(path, text):
    path.write_text(text)
    path.chmod(0o755)


def test_the_script_runs_the_suite_on_the_binary_that_it_finds(base_path, path_of_binaries, capfd):
    write_script(path_of_binaries / BINARY, STAND_IN.format(python=sys.executable, root=str(ROOT)))
    arguments = ["--model_base_path", str(base_path), "--batching", "--", "-k", "test_metadata or left_out"]
    assert main(arguments) == 0
    printed = capfd.readouterr().out
    assert f"conformance: the binary {path_of_binaries / BINARY}, flags --port=" in printed
    assert f"--model_base_path={base_path} --enable_grpc_healthcheck_service --enable_batching" in printed
    assert " passed" in printed
    assert "the server's batching joins inputs of equal batch sizes only" in printed, "the reason of a test left out"


def test_the_script_says_why_a_server_did_not_start(base_path, path_of_binaries):
    write_script(path_of_binaries / BINARY, "#!/bin/sh\necho unknown flag $2\nexit 1\n")
    with pytest.raises(UserError, match="the server ended; the end of its log:\nunknown flag --model_name=sparcode"):
        main(["--model_base_path", str(base_path)])


@pytest.mark.parametrize(
    ("docker", "reason"),
    [
        (None, "docker is not on the PATH, and"),
        ("exit 1", "docker is there, but its daemon does not answer, and"),
        ('test "$1" = info', "docker cannot pull tensorflow/serving:2.20.0, and"),
    ],
)
def test_the_script_says_that_there_is_no_server(path_of_binaries, docker, reason):
    if docker:
        write_script(path_of_binaries / "docker", f"#!/bin/sh\n{docker}\n")
    with pytest.raises(UserError, match=f"no TensorFlow Serving to be had here: {reason} {BINARY} is not on the PATH"):
        main([])
