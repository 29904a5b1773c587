"""At every point of an upload and of a removal, and whoever is killed there, a reader sees whole versions only."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.storage import Store, open_store
from protos.storage.objects import BucketStore
from protos.storage.posix import PosixStore
from tests.support.published import INNER_MANIFEST, Files, files_of, write_servable

ROOT = pathlib.Path(__file__).parents[3]
PUBLISHER = "publisher.json"


class Killed(BaseException):
    """What stands for the end of a process: nothing that it would still do is done."""


class Place:
    """A place for versions whose every change is watched, and can be the last.

    Attributes:
      contents: the files of everything that was ever to be published, by fingerprint.
      left: changes until whoever is at work is killed; None for never.
    """

    store: Store

    def __init__(self) -> None:
        self.contents: dict[str, Files] = {}
        self.left: int | None = None

    def seen(self) -> dict[int, Files]:
        """What a reader sees as versions, with all that is in them."""
        raise NotImplementedError

    def before_change(self) -> None:
        if self.left is not None:
            if self.left == 0:
                raise Killed
            self.left -= 1

    def check(self) -> dict[int, str]:
        """Holds what a reader sees against what was to be published; returns the fingerprint of each version."""
        found = {}
        for number, files in self.seen().items():
            fingerprint = json.loads(files[INNER_MANIFEST])["fingerprint"]
            assert {**files, PUBLISHER: b""} == {**self.contents[fingerprint], PUBLISHER: b""}
            found[number] = fingerprint
        return found


class WatchedMemory(Place):
    """A bucket in memory. A reader takes what has a manifest."""

    CHANGES = ("pipe_file", "put_file", "rm_file")

    def __init__(self) -> None:
        super().__init__()
        MemoryFileSystem.store.clear()
        self.fs = MemoryFileSystem()
        self.store = BucketStore("memory://watched", self, "/watched")  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.__dict__["fs"], name)
        return self._watched(method) if name in self.CHANGES else method

    def _watched(self, method: Callable) -> Callable:
        def change(*arguments: Any, **keywords: Any) -> None:
            self.before_change()
            method(*arguments, **keywords)
            self.check()

        return change

    def seen(self) -> dict[int, Files]:
        versions: dict[int, Files] = {}
        for path, file in MemoryFileSystem.store.items():
            _, _, number, name = path.split("/", 3)
            versions.setdefault(int(number), {})[name] = file.getvalue()
        return {number: files for number, files in versions.items() if INNER_MANIFEST in files}


class WatchedDirectory(Place):
    """A directory. TensorFlow Serving takes whatever has a number for a name."""

    CHANGES = ("open", "os.rename", "os.mkdir", "os.rmdir", "os.remove")

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__()
        self.directory = directory
        self.store = PosixStore(directory)
        self.busy = False

    def seen(self) -> dict[int, Files]:
        return {int(path.name): files_of(path) for path in self.directory.iterdir() if path.name.isdecimal()}

    def event(self, name: str, arguments: tuple) -> None:
        """Hears of everything that is asked of the system, before it is done: what it sees is there between changes."""
        if self.busy or name not in self.CHANGES:
            return
        if name == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        self.busy = True
        try:
            self.check()
            self.before_change()
        finally:
            self.busy = False


_watched: list[WatchedDirectory] = []
_hooked: list[bool] = []


def _hear(name: str, arguments: tuple) -> None:
    if _watched:
        _watched[0].event(name, arguments)


@pytest.fixture(params=[WatchedMemory, WatchedDirectory])
def new_place(request: pytest.FixtureRequest) -> Iterator[Callable[[], Place]]:
    if not _hooked:
        sys.addaudithook(_hear)  # for good: there is no way to take one away
        _hooked.append(True)
    with tempfile.TemporaryDirectory() as scratch:

        def make() -> Place:
            if request.param is WatchedMemory:
                return WatchedMemory()
            return WatchedDirectory(pathlib.Path(tempfile.mkdtemp(dir=scratch)))

        yield make


def watched(place: Place, act: Callable[[], object], kill_after: int | None) -> bool:
    """Acts, and may be killed after some changes; returns whether it was."""
    place.left = kill_after
    if isinstance(place, WatchedDirectory):
        _watched.append(place)
    try:
        act()
    except Killed:
        return True
    finally:
        _watched.clear()
        place.left = None
    return False


Step = tuple[str, int | None]
STEPS = st.lists(
    st.tuples(st.sampled_from(["publish", "remove"]), st.none() | st.integers(0, 12)), min_size=1, max_size=6
)


@settings(max_examples=40)
@given(steps=STEPS)
def _check_steps(new_place: Callable[[], Place], scratch: pathlib.Path, steps: list[Step]) -> None:
    place = new_place()
    for number, (what, kill_after) in enumerate(steps):
        before = place.check()
        if what == "publish":
            target = publish(place, scratch, f"content-{number}", kill_after)
            assert place.check() == {**before, target: place.check()[target]}
        elif before:
            target = min(before)
            if watched(place, lambda version=target: place.store.remove(version), kill_after) and target in (
                place.check()
            ):
                place.store.remove(target)
            assert place.check() == {version: kept for version, kept in before.items() if version != target}
        assert {version: entry["fingerprint"] for version, entry in place.store.published().items()} == place.check()


def publish(place: Place, scratch: pathlib.Path, content: str, kill_after: int | None) -> int:
    """Publishes, again if killed; returns the number."""
    servable = scratch / content
    if not servable.exists():
        write_servable(servable, content)
    files = files_of(servable)
    place.contents[json.loads(files[INNER_MANIFEST])["fingerprint"]] = files
    if watched(place, lambda: place.store.publish(servable, content), kill_after):
        place.check()
    return place.store.publish(servable, content)


def test_whoever_is_killed_wherever(new_place: Callable[[], Place], tmp_path_factory: pytest.TempPathFactory) -> None:
    _check_steps(new_place, tmp_path_factory.mktemp("servables"))


def test_the_watch_sees_every_change(new_place: Callable[[], Place], tmp_path: pathlib.Path) -> None:
    place = new_place()
    last = 0
    while publish_is_killed(place, tmp_path, last):
        last += 1
    assert last >= 5  # claim or directory, three files, manifest
    assert len(place.check()) == 1


def publish_is_killed(place: Place, scratch: pathlib.Path, after: int) -> bool:
    servable = write_servable(scratch / "a", "a") if not (scratch / "a").exists() else scratch / "a"
    files = files_of(servable)
    place.contents[json.loads(files[INNER_MANIFEST])["fingerprint"]] = files
    return watched(place, lambda: place.store.publish(servable, "p"), after)


# --- Real processes ------------------------------------------------------------------------------

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
