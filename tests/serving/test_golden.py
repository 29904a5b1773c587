"""The signatures that clients see change knowingly: `python -m tests.serving.golden` writes them anew."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.serving.golden import DIRECTORY, MODELS, text_of, write_servable


@pytest.mark.parametrize("model", MODELS)
def test_signatures_are_those_on_record(tmp_path, model):
    expected = (DIRECTORY / f"{model}.pbtxt").read_text()
    found = text_of(write_servable(tmp_path, model))
    assert found == expected, "a signature has changed: if it is meant, run python -m tests.serving.golden"


def test_the_command_can_be_started():
    subprocess.run([sys.executable, "-c", "import tests.serving.golden"], cwd=DIRECTORY.parents[2], check=True)
