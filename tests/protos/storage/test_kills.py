"""At every point of an upload and of a removal, and whoever is killed there, a reader sees whole versions only."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.storage import Store
from protos.storage.objects import BucketStore
from protos.storage.posix import PosixStore
from tests.support.published import INNER_MANIFEST, Files, files_of, write_servable

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
