"""`make flink` gets the jars that are locked, or says what is missing."""

from __future__ import annotations

import importlib.util
import pathlib
import zipfile

import pytest

SCRIPT = pathlib.Path(__file__).parent.parent / "requirements" / "flink" / "install.py"
_spec = importlib.util.spec_from_file_location("install_flink", SCRIPT)
flink = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(flink)


@pytest.fixture
def jars(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Two jars, and a lock of them in place of the real one."""
    directory = tmp_path / "lib"
    directory.mkdir()
    for name in ("a-1.jar", "b-2.jar"):
        (directory / name).write_text(name)
    monkeypatch.setattr(flink, "LOCK", tmp_path / "lock.sha256")
    flink.LOCK.write_text(flink.checksums(directory))
    return directory


def test_the_jars_of_the_lock_will_do(jars: pathlib.Path) -> None:
    flink.require_locked(jars)


@pytest.mark.parametrize("change", ["other bytes", "missing", "one more"])
def test_other_jars_are_refused_by_name(jars: pathlib.Path, change: str) -> None:
    if change == "missing":
        (jars / "b-2.jar").unlink()
    else:
        (jars / ("b-2.jar" if change == "other bytes" else "c-3.jar")).write_text("other")
    with pytest.raises(flink.InstallError, match=r"^(b-2|c-3)\.jar is not the file that .*lock\.sha256 names"):
        flink.require_locked(jars)


def test_the_launcher_names_its_jars_in_lines_that_java_takes(tmp_path: pathlib.Path) -> None:
    jars = [f"lib/some-library-{number}.jar" for number in range(40)]
    flink.write_launcher(tmp_path / "launcher.jar", jars)
    manifest = zipfile.ZipFile(tmp_path / "launcher.jar").read("META-INF/MANIFEST.MF")
    assert max(map(len, manifest.split(b"\r\n"))) <= 72
    unfolded = manifest.decode().replace("\r\n ", "").splitlines()
    assert f"Class-Path: {' '.join(jars)}" in unfolded
    assert "Main-Class: org.apache.beam.runners.flink.FlinkJobServerDriver" in unfolded


def test_without_java_or_maven_it_says_what_to_install(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(flink.InstallError, match=r"no java found; install it"):
        flink.fetch(tmp_path)
    (tmp_path / "java").touch(mode=0o755)
    with pytest.raises(flink.InstallError, match=r"no mvn found; install it"):
        flink.fetch(tmp_path)
