"""Interactions to a published version: a run that is killed and taken up again, gates that say no, the night after."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from k8s.images import pull_model
from pipeline.publish import main
from pipeline.publishing.gate import measure_served
from pipeline.publishing.options import parse
from protos.errors import UserError
from protos.storage import open_store
from tests.support.data_files import REPOSITORY
from tests.support.published import files_of, s3_endpoint
from trainer.data import load, split

DATA = "synthetic:users=60,items=120,interactions=2000,seed=3"
TINY = (
    *("--training.epochs=2", "--training.validate_every=1", "--quantizer.warmup_epochs=1"),
    *("--quantizer.num_codewords=8", "--tokenizer.dim=16", "--tokenizer.kind=mean_pooling", "--scorer.kind=dnn"),
)


BUCKET = "s3://models/films"


@dataclasses.dataclass(frozen=True)
class Tried:
    """What came of a command: how it ended, what it printed, and what it refused to do."""

    ended: int
    printed: str
    refused: str = ""


@dataclasses.dataclass(frozen=True)
class Nights:
    """Where runs are at work, and a directory of versions beside the bucket."""

    work_dir: pathlib.Path
    published: pathlib.Path

    def flags(self, to: object) -> list[str]:
        return ["--data", DATA, "--work_dir", str(self.work_dir), "--to", str(to), *TINY]

    def tried(self, *flags: str, to: object) -> Tried:
        """Publishes in this process."""
        with pytest.MonkeyPatch.context() as patch:
            lines: list[str] = []
            patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
            try:
                main([*self.flags(to), *flags])
            except UserError as error:
                return Tried(2, "\n".join(lines), str(error))
        return Tried(0, "\n".join(lines))

    def killed_at(self, name: str, *flags: str, to: object) -> Tried:
        """Publishes in another process, which is killed as a file gets this name."""
        command = [sys.executable, "-m", "tests.pipeline.killed", name, *self.flags(to), *flags]
        run = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
        return Tried(run.returncode, run.stdout)

    def training(self) -> dict[str, float]:
        """When each checkpoint of the trainings was last written."""
        files = self.work_dir.glob("runs/*/train/checkpoints/**/*")
        return {str(path): path.stat().st_mtime for path in files if path.is_file()}


# One night after the other, each the next one's past. -------------------------------------------


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    root = tmp_path_factory.mktemp("publish")
    with s3_endpoint():
        yield Nights(root / "work", root / "published")


@pytest.fixture(scope="module")
def trained(nights: Nights) -> dict[str, float]:
    """Killed when the model was exported, before it was noted: when its checkpoints were written."""
    assert nights.killed_at("export.json", to=BUCKET).ended == -signal.SIGKILL
    return nights.training()


@pytest.fixture(scope="module")
def refused(nights: Nights, trained: dict[str, float]) -> Tried:
    """Taken up, and refused by the gate of the index."""
    return nights.tried("--min_fidelity=1", to=BUCKET)


@pytest.fixture(scope="module")
def unnoted(nights: Nights, refused: Tried) -> Tried:
    """Taken up, and killed when the version was published, before it was noted."""
    assert open_store(BUCKET).published() == {}
    return nights.killed_at("published.json", to=BUCKET)


@pytest.fixture(scope="module")
def finished(nights: Nights, unnoted: Tried) -> Tried:
    """Taken up again, to another place."""
    return nights.tried(to=nights.published)


@pytest.fixture(scope="module")
def night_after(nights: Nights, finished: Tried) -> Tried:
    """The same data, the night after, until the training is done."""
    return nights.killed_at("export.json", "--warm_start", "--protect=3", to=nights.published)


def test_the_gate_of_the_index_says_why_and_publishes_nothing(refused: Tried) -> None:
    assert "below --min_fidelity 1" in refused.refused
    assert "goes on with the run" in refused.printed


def test_a_dry_run_says_what_would_go_on_and_writes_nothing(nights: Nights, refused: Tried) -> None:
    before = {path: path.stat().st_mtime_ns for path in nights.work_dir.rglob("*")}
    seen = nights.tried("--dry_run", to=BUCKET)
    (run,) = nights.work_dir.glob("runs/*")
    assert f"goes on with {run}" in seen.printed
    assert "goes on with the run that is there" in seen.printed
    assert f"would publish version 1 at {BUCKET}, where there are none" in seen.printed
    assert {path: path.stat().st_mtime_ns for path in nights.work_dir.rglob("*")} == before
    assert open_store(BUCKET).published() == {}


def test_what_is_published_in_a_bucket_is_what_was_asked(
    nights: Nights, unnoted: Tried, tmp_path: pathlib.Path
) -> None:
    assert unnoted.ended == -signal.SIGKILL
    pull_model.main([f"--published={BUCKET}", "--version=1", f"--output={tmp_path / 'models'}"])
    (asked,) = nights.work_dir.glob("runs/*/servable/1")
    assert files_of(tmp_path / "models" / "1") == files_of(asked)


def test_the_gate_of_the_servable_says_why(nights: Nights, unnoted: Tried) -> None:
    (base,) = nights.work_dir.glob("runs/*/servable")
    with pytest.raises(UserError, match=r"NDCG@50 of the served answers is 0\.\d+, below --min_ndcg 1: nothing"):
        measure_served(base, split(load(DATA)), min_ndcg=1)


def test_a_run_is_taken_up_at_the_step_where_it_was_killed(
    nights: Nights, trained: dict[str, float], finished: Tried
) -> None:
    assert finished.refused == ""
    assert finished.printed.count("done before") == 3
    assert trained
    assert nights.training() == trained
    assert [path.name for path in nights.published.iterdir()] == ["1"]
    (record,) = nights.work_dir.glob("runs/*/published.json")
    found = json.loads(record.read_text())
    (manifest,) = open_store(BUCKET).published().values()
    assert (found["to"], found["version"]) == (str(nights.published), 1)
    assert found["fingerprint"] == manifest["fingerprint"]
    assert found["served"]["queries"] > 0
    assert 0 < found["served"]["ndcg@50"] <= 1


def test_the_night_after_trains_again_from_the_weights_of_the_last(
    nights: Nights, trained: dict[str, float], night_after: Tried
) -> None:
    assert "a new run in" in night_after.printed
    assert "items known" in night_after.printed
    assert "note: --protect names 3, not published" in night_after.printed
    assert nights.training().items() > trained.items()


def test_a_dry_run_of_a_new_run_says_what_would_be_published_and_removed(
    nights: Nights, finished: Tried, tmp_path: pathlib.Path
) -> None:
    for number in (2, 3):
        shutil.copytree(nights.published / "1", tmp_path / "published" / str(number))
    before = sorted(tmp_path.rglob("*"))
    seen = nights.tried(f"--work-dir={tmp_path / 'work'}", "--keep=2", "--dry-run", to=tmp_path / "published")
    assert "run           a new one" in seen.printed
    assert f"would publish version 4 at {tmp_path / 'published'}, where there are 2, 3" in seen.printed
    assert "would remove  2" in seen.printed
    assert sorted(tmp_path.rglob("*")) == before
    again = nights.tried("--version=3", "--dry_run", to=tmp_path / "published")
    assert "--version 3 is published at" in again.refused


# --- Before any work -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--keep=1"], "--keep is 1; expected 2 or more"),
        (["--version=0"], "--version is 0; expected 1 or more"),
        (["--min_fidelity=2"], "--min_fidelity is 2; expected 0"),
        (["--min_ndcg=-1"], "--min_ndcg is -1; expected 0"),
        (["--model=elsewhere"], "--model=elsewhere cannot be given: each run has"),
        (["--base-index=old"], "--base-index=old cannot be given: each run has"),
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


def test_a_number_that_is_taken_is_refused_before_training(
    nights: Nights, finished: Tried, tmp_path: pathlib.Path
) -> None:
    flags = [f"--data={DATA}", f"--work_dir={tmp_path}/work", f"--to={nights.published}", "--version=1"]
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
