"""Interactions to a published version: a run that is killed and taken up again, gates that say no, the night after."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pipeline.publish import main
from pipeline.publishing.options import parse
from protos.errors import UserError
from protos.storage import open_store
from tests.k8s.test_pull_model import pull_model
from tests.support.data_files import REPOSITORY
from tests.support.published import files_of, s3_endpoint

DATA = "synthetic:users=60,items=120,interactions=2000,seed=3"
TINY = (
    *("--training.epochs=2", "--training.validate_every=1", "--quantizer.warmup_epochs=1"),
    *("--quantizer.num_codewords=8", "--tokenizer.dim=16"),
)


@dataclasses.dataclass(frozen=True)
class Tried:
    """What came of a command: what it said, or why it refused."""

    printed: str
    refused: str


@dataclasses.dataclass(frozen=True)
class Night:
    """What a night left: a run killed before its servable was noted, refused by two gates, and then let through."""

    work_dir: pathlib.Path
    published: pathlib.Path
    killed_by: int
    checkpoints: tuple[dict[str, float], dict[str, float]]
    tries: dict[str, Tried]


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    root = tmp_path_factory.mktemp("publish")
    work, published = root / "work", root / "published"
    flags = ["--data", DATA, "--work_dir", str(work), "--to", str(published), *TINY]
    killed = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.killed", "servable.json", *flags],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    before = checkpoints(work)
    tries = {
        "fidelity": tried([*flags, "--min_fidelity=1"]),
        "ndcg": tried([*flags, "--min_ndcg=1"]),
        "passes": tried([*flags, "--keep=2"]),
    }
    return Night(work, published, killed.returncode, (before, checkpoints(work)), tries)


def tried(flags: list[str]) -> Tried:
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        try:
            main(flags)
        except UserError as error:
            return Tried("\n".join(lines), str(error))
    return Tried("\n".join(lines), "")


def checkpoints(work_dir: pathlib.Path) -> dict[str, float]:
    """When each file of the training was last written."""
    files = work_dir.glob("runs/*/train/**/*")
    return {str(path): path.stat().st_mtime for path in files if path.is_file()}


def test_a_killed_run_is_taken_up_without_training_again(night: Night) -> None:
    assert night.killed_by == -signal.SIGKILL
    before, after = night.checkpoints
    assert before
    assert after == before
    assert "goes on with the run" in night.tries["passes"].printed


def test_a_gate_that_says_no_says_why_and_publishes_nothing(night: Night) -> None:
    assert "below --min_fidelity 1" in night.tries["fidelity"].refused
    assert "below --min_ndcg 1: nothing is published" in night.tries["ndcg"].refused
    assert "version 1 is published" in night.tries["passes"].printed  # and no other before it


def test_the_run_says_what_it_published(night: Night) -> None:
    (record,) = night.work_dir.glob("runs/*/published.json")
    found = json.loads(record.read_text())
    (manifest,) = open_store(str(night.published)).published().values()
    assert (found["version"], found["fingerprint"]) == (1, manifest["fingerprint"])
    assert found["served"]["queries"] > 0
    assert 0 < found["served"]["ndcg@50"] <= 1


@pytest.fixture(scope="module")
def second_night(night: Night) -> Iterator[Tried]:
    """The same data the night after, to a bucket, which ends with the module."""
    with s3_endpoint():
        flags = ["--data", DATA, "--work_dir", str(night.work_dir), "--to", "s3://models/films", *TINY]
        yield tried([*flags, "--warm_start", "--sums=rescored", "--no_block", "--protect=3"])


def test_the_night_after_trains_again_from_the_weights_of_the_last(night: Night, second_night: Tried) -> None:
    assert second_night.refused == ""
    assert "a new run in" in second_night.printed
    assert "items known" in second_night.printed
    assert "note: --protect names 3, not published" in second_night.printed
    assert not [path for path in night.checkpoints[0] if pathlib.Path(path).exists()]  # of runs, the last is kept


def test_what_is_published_in_a_bucket_is_what_was_asked(
    night: Night, second_night: Tried, tmp_path: pathlib.Path
) -> None:
    pull_model.main(["--published=s3://models/films", "--version=1", f"--output={tmp_path / 'models'}"])
    (asked,) = night.work_dir.glob("runs/*/servable/1")
    assert files_of(tmp_path / "models" / "1") == files_of(asked)


# --- Before any work -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--keep=1"], "--keep is 1; expected 2 or more"),
        (["--version=0"], "--version is 0; expected 1 or more"),
        (["--min_fidelity=2"], "--min_fidelity is 2; expected 0"),
        (["--min_ndcg=-1"], "--min_ndcg is -1; expected 0"),
        (["--model=elsewhere"], "--model=elsewhere cannot be given: each run has"),
        (["--no_block"], "add --sums sparse or --sums rescored"),
        (["--training.epoch=3"], "--training.epoch=3 is no field of the configuration"),
        (["--training.epoch=3", "--runner=FlinkRunner"], "is no field of the configuration"),
        (["--postings_per_cod=3"], "--postings_per_cod"),
        (["--warm_start", "--training.warm_start=run"], "leave one of them out"),
        (["--quality_queries=0"], "needs --quality_queries above 0"),
    ],
)
def test_options_are_checked_first(flags: list[str], message: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError) as raised:
        main(["--data=nowhere", f"--work_dir={tmp_path}/work", f"--to={tmp_path}/published", *flags])
    assert message in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_versions_to_protect_are_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    required = ["--data=d", "--work_dir=w", "--to=t"]
    assert parse([*required, "--protect=3,12"]).protect == (3, 12)
    with pytest.raises(SystemExit):
        parse([*required, "--protect=3,canary"])
    assert "'canary' is not a version; expected numbers, as in 12,14" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "published").write_text("a file")
    with pytest.raises(UserError, match=f"^{tmp_path}/published: "):
        main([f"--data={DATA}", f"--work_dir={tmp_path}/work", f"--to={tmp_path}/published"])


def test_a_number_that_is_taken_is_refused_before_training(night: Night, tmp_path: pathlib.Path) -> None:
    flags = [f"--data={DATA}", f"--work_dir={tmp_path}/work", f"--to={night.published}", "--version=1"]
    with pytest.raises(UserError, match=r"--version 1 is published at .*; choose a number above 1"):
        main([*flags, *TINY])


def test_one_run_at_a_time_works_in_a_directory(tmp_path: pathlib.Path) -> None:
    script = (
        "import pathlib, sys\nfrom pipeline.publishing.runs import Runs\n"
        "with Runs(pathlib.Path(sys.argv[1])).locked():\n    print(flush=True)\n    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "work")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(UserError, match="another run is at work there"):
            main([f"--data={DATA}", f"--work_dir={tmp_path}/work", f"--to={tmp_path}/published"])
        os.kill(other.pid, signal.SIGKILL)
    assert not list((tmp_path / "work" / "runs").iterdir())
