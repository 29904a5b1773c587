"""The signatures that clients see change knowingly: `python -m tests.serving.golden` writes them anew."""

from __future__ import annotations

import pytest

from tests.serving.golden import DIRECTORY, text_of, write_servable
from tests.serving.worlds import SUMS


@pytest.mark.parametrize(("model", "sums"), [*(("plain", sums) for sums in SUMS), ("features", "rescored")])
def test_signatures_are_those_on_record(tmp_path, model, sums):
    expected = (DIRECTORY / f"{model}.pbtxt").read_text()
    found = text_of(write_servable(tmp_path, model, sums))
    assert found == expected, "a signature has changed: if it is meant, run python -m tests.serving.golden"
