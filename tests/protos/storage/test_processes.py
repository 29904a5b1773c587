"""Publishers that are processes: killed by the system in their upload, and several at once."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from protos.storage import Store, open_store
from protos.storage.objects import BucketStore
from tests.support.published import files_of

ROOT = pathlib.Path(__file__).parents[3]

# Publishes, and is killed when the last file but the manifest is there. It needs no TensorFlow.
KILLED_IN_UPLOAD = """
import os, pathlib, signal, sys
from protos.storage import objects, open_store, posix

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

objects.BucketStore._require_whole = die
posix.read_servable_manifest = die
open_store(sys.argv[1]).publish(pathlib.Path(sys.argv[2]), sys.argv[3])
"""
PUBLISHES = """
import pathlib, sys
from protos.storage import open_store
store = open_store(sys.argv[1])
store.published()
print("ready", flush=True)
sys.stdin.read(1)
print(store.publish(pathlib.Path(sys.argv[2]), sys.argv[3]))
"""


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("url", ["path", "s3"], indirect=True)
def test_a_publisher_killed_in_its_upload_shows_nothing_and_goes_on(
    url: str, store: Store, servable: Callable[[str], pathlib.Path]
) -> None:
    store.publish(servable("old"), "before")
    killed = start(KILLED_IN_UPLOAD, url, servable("new"), "p")
    assert killed.wait(60) == -signal.SIGKILL
    assert list(store.published()) == [1]
    assert len(leftovers(url, store)) > 3  # it had begun
    assert store.sweep() == []  # nobody can tell yet that it is dead
    assert open_store(url).publish(servable("new"), "p") == 2
    assert list(store.published()) == [1, 2]
    assert leftovers(url, store) == []


def leftovers(url: str, store: Store) -> list[str]:
    """Files that are in no whole version."""
    if isinstance(store, BucketStore):
        names = [name.removeprefix(f"{store._root}/") for name in store._fs.find(store._root)]
    else:
        names = list(files_of(pathlib.Path(url)))
    return [name for name in names if name.partition("/")[0] not in map(str, store.published())]


@pytest.mark.parametrize("url", ["path", "s3"], indirect=True)
def test_what_the_dead_left_is_swept_after_a_day(
    url: str, store: Store, servable: Callable[[str], pathlib.Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(servable("old"), "before")
    start(KILLED_IN_UPLOAD, url, servable("new"), "p").wait(60)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 23 * 3600)
    assert store.sweep() == []
    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    assert len(store.sweep()) == 1
    assert leftovers(url, store) == []
    assert list(store.published()) == [1]


@pytest.mark.parametrize("url", ["path", "s3"], indirect=True)
def test_publishers_at_once_get_numbers_of_their_own(
    url: str, store: Store, servable: Callable[[str], pathlib.Path], tmp_path: pathlib.Path
) -> None:
    contents = [f"content-{number}" for number in range(4)]
    publishers = [start(PUBLISHES, url, servable(content), content) for content in contents]
    assert [publisher.stdout.readline() for publisher in publishers] == ["ready\n"] * len(publishers)
    for publisher in publishers:
        publisher.stdin.write("g")
        publisher.stdin.flush()
    numbers = [int(publisher.communicate(timeout=60)[0]) for publisher in publishers]
    assert sorted(numbers) == [1, 2, 3, 4]
    for content, number in zip(contents, numbers, strict=True):
        (tmp_path / content).mkdir()
        store.fetch(number, tmp_path / content)
        assert files_of(tmp_path / content) == files_of(tmp_path / "servables" / content)
