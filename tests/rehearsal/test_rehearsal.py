"""A short rehearsal at a tenth of a cluster's periods; and that one would notice if users noticed anything."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import shutil
from collections.abc import Iterator

import pytest

from tests.k8s.tools import K8S
from tests.rehearsal.__main__ import stage
from tests.rehearsal.chapters import read_chapter
from tests.rehearsal.pace import Pace
from tests.rehearsal.script import Script, WentWrong
from tests.rehearsal.versions import DAMAGED, GOOD, NEXT, damage, publish_tiny

pytestmark = pytest.mark.long
README = (K8S / "README.md").read_text()


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Script]:
    """One that has gone through a canary, a promotion, a bad promotion and the loss of a pod; all of it still runs."""
    directory = tmp_path_factory.mktemp("rehearsal")
    published, scratch = directory / "published", tmp_path_factory.mktemp("scratch")
    exports = [publish_tiny(published, version, scratch, seed=version) for version in (GOOD, NEXT)]
    shutil.copytree(published / str(NEXT), published / str(DAMAGED))
    damage(published, DAMAGED)
    shutil.copytree(exports[0], directory / "run" / "export")
    with stage(directory, published, 10, Pace(0.1), 2) as found, contextlib.ExitStack() as users:
        try:
            found.start(users)
            found.lose_a_pod({GOOD})
            found.keep()
            found.canary(NEXT)
            found.promote()
            found.damaged_promoted()
            found.drain(NEXT)
        except BaseException:
            print(found.log())
            raise
        yield found


def test_no_request_fails(script: Script, tmp_path: pathlib.Path) -> None:
    script.write(tmp_path / "rehearsal.json", pace=0.1)
    found = json.loads((tmp_path / "rehearsal.json").read_text())
    assert found["failed"] == 0
    assert found["requests"] > 100
    steps = {step["name"]: step for step in found["steps"]}
    assert list(steps)[:6] == ["start", "lose a pod", "keep", "canary, dark: version 2", "canary, live", "promote"]
    assert all(step["failed"] == 0 for step in found["steps"])
    assert steps["canary, dark: version 2"]["versions"].keys() == {str(GOOD)}
    assert steps["canary, live"]["versions"].keys() == {str(GOOD), str(NEXT)}
    assert steps["after all"]["versions"].keys() == {str(NEXT)}
    assert "does not match the checksum" in steps[f"promoted all the same, damaged: version {DAMAGED}"]["note"]


def test_what_was_done_stands_in_the_readme(script: Script, tmp_path: pathlib.Path) -> None:
    script.write(tmp_path / "rehearsal.json")
    done = json.loads((tmp_path / "rehearsal.json").read_text())["commands"]
    assert len(done) > 10
    edit = re.compile(r'version: "\d+"')  # which version it is, is the rehearsal's own choice
    assert {edit.sub("", command) for command in done} <= {edit.sub("", line) for line in README.splitlines()}


def test_an_outage_is_noticed(script: Script) -> None:
    with pytest.raises(WentWrong, match=r"outage: \d+ of \d+ requests failed"), script.step("outage"):
        script.outage(seconds=4)


def test_chapters_are_read_as_groups_of_commands() -> None:
    text = "## A\n```sh\n# One.\na b \\\n    c\nd &\n\n# Two.\ne\n```\nmore\n```sh\nf\n```\n## B\n```sh\ng\n```\n"
    assert read_chapter(text, "A") == [["a b      c", "d &"], ["e"], ["f"]]
    assert read_chapter(text, "B") == [["g"]]
