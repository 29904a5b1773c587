"""The signatures that clients see change knowingly: `python -m tests.serving.golden` writes them anew."""

from __future__ import annotations

import pytest

from tests.serving.golden import DIRECTORY, MODELS, text_of, write_servable


@pytest.mark.parametrize("model", MODELS)
def test_signatures_are_those_on_record(tmp_path, model):
    expected = (DIRECTORY / f"{model}.pbtxt").read_text()
    found = text_of(write_servable(tmp_path, model))
    assert found == expected, "a signature has changed: if it is meant, run python -m tests.serving.golden"
