"""What holds of every place for versions, be it a directory or a bucket."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from protos.errors import UserError
from protos.storage import Store, VersionTakenError, open_store
from protos.storage.objects import BucketStore
from tests.support.published import INNER_MANIFEST, files_of, write_servable

Maker = Callable[[str], pathlib.Path]
ROOT = pathlib.Path(__file__).parents[3]


def fetched(store: Store, version: int, tmp_path: pathlib.Path) -> dict[str, bytes]:
    directory = tmp_path / f"fetched-{version}"
    directory.mkdir()
    store.fetch(version, directory)
    return files_of(directory)


def test_an_empty_place_has_no_versions(store: Store) -> None:
    store.check_writable()
    assert store.published() == {}
    assert store.sweep() == []


def test_versions_are_counted_up_and_arrive_as_they_were(store: Store, servable: Maker, tmp_path: pathlib.Path) -> None:
    assert [store.publish(servable(content), f"by-{content}") for content in "abc"] == [1, 2, 3]
    for version, content in enumerate("abc", start=1):
        assert fetched(store, version, tmp_path) == files_of(tmp_path / "servables" / content)
        assert store.publisher(version) == f"by-{content}"
    assert list(store.published()) == [1, 2, 3]


def test_a_number_can_be_chosen_and_is_never_given_twice(store: Store, servable: Maker, tmp_path: pathlib.Path) -> None:
    assert store.publish(servable("a"), "p", version=7) == 7
    with pytest.raises(VersionTakenError, match=r"version 7 at .* is taken; choose a number above 7"):
        store.publish(servable("b"), "q", version=7)
    assert fetched(store, 7, tmp_path) == files_of(tmp_path / "servables" / "a")
    assert store.publish(servable("b"), "q") == 8


@pytest.mark.parametrize("url", ["memory", "s3"], indirect=True)
def test_of_two_who_choose_one_number_at_once_the_second_gets_the_next(
    url: str, store: Store, servable: Maker, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    second = open_store(url)
    listing = second._listing
    looks: list[None] = []

    def stale_at_first() -> dict:
        looks.append(None)
        return {} if len(looks) <= 3 else listing()  # as if it had looked before the first one's claim

    monkeypatch.setattr(second, "_listing", stale_at_first)
    assert store.publish(servable("a"), "p") == 1
    assert second.publish(servable("b"), "q") == 2
    for version, content in ((1, "a"), (2, "b")):
        assert fetched(store, version, tmp_path) == files_of(tmp_path / "servables" / content)


def test_the_same_publisher_publishes_the_same_once(store: Store, servable: Maker) -> None:
    assert [store.publish(servable("a"), "p") for _ in range(3)] == [1, 1, 1]
    assert store.publish(servable("b"), "p") == 2  # other content is another version
    assert store.publish(servable("a"), "q") == 3  # another publisher's is too


def test_what_is_removed_is_gone_and_its_successors_stay(store: Store, servable: Maker) -> None:
    for content in "abc":
        store.publish(servable(content), content)
    store.remove(1)
    assert list(store.published()) == [2, 3]
    with pytest.raises(UserError, match="has no version 1, only 2, 3"):
        store.fetch(1, pathlib.Path("nowhere"))
    assert store.publish(servable("d"), "d") == 4


def test_a_damaged_servable_is_not_published(store: Store, servable: Maker) -> None:
    damaged = servable("a")
    (damaged / "saved_model.pb").write_text("graph of b")
    with pytest.raises(UserError, match="does not match the checksum"):
        store.publish(damaged, "p")
    assert store.published() == {}


def test_what_is_no_version_is_not_seen(url: str, store: Store, servable: Maker) -> None:
    store.publish(servable("a"), "p")
    if isinstance(store, BucketStore):
        write = store._fs.pipe_file
        root = store._root
    else:
        root = url

        def write(path: str, content: bytes) -> None:
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(path).write_bytes(content)

    write(f"{root}/README", b"models")
    write(f"{root}/latest/{INNER_MANIFEST}", b"{}")
    for number, manifest in enumerate((b"", b"{", b"[]", b'{"format": 1}', b'{"format": "sparcode.index/3"}'), 10):
        write(f"{root}/{number}/{INNER_MANIFEST}", manifest)
    missing = {"format": "sparcode.servable/3", "files": {"saved_model.pb": {"bytes": 3, "sha256": ""}}}
    write(f"{root}/20/{INNER_MANIFEST}", json.dumps(missing).encode())
    write(f"{root}/21/{INNER_MANIFEST}", json.dumps(missing).encode())
    write(f"{root}/21/saved_model.pb", b"more than three")
    assert list(store.published()) == [1]
    with pytest.raises(UserError, match=r"version 21 at .* is not whole"):
        store.fetch(21, pathlib.Path("nowhere"))
    assert store.publish(servable("b"), "q") == 22  # nothing is mixed with what is there


def test_a_manifest_cannot_lead_out_of_the_version(tmp_path: pathlib.Path) -> None:
    root = pathlib.Path(write_servable(tmp_path / "published" / "1", "a"))
    (tmp_path / "published" / "secret").write_text("s")
    manifest = json.loads((root / INNER_MANIFEST).read_text())
    manifest["files"] = {"../secret": {"bytes": 1, "sha256": ""}}
    store = BucketStore("memory://x", MemoryFileSystem(), "/escape")
    for name, content in ((f"1/{INNER_MANIFEST}", json.dumps(manifest)), ("1/../secret", "s")):
        store._fs.pipe_file(f"/escape/{name}", content.encode())
    with pytest.raises(UserError, match=r"lists '\.\./secret', which is outside"):
        store.fetch(1, tmp_path / "target")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/models", r"ftp:// is not a place for versions; give a path, or one of file://, gs://, s3://"),
        ("s3://", "names no bucket; for example s3://models"),
        ("memory://", "names no directory"),
    ],
)
def test_what_is_no_place_is_refused(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_store(url)


def test_a_bucket_that_is_not_there_is_named(s3_environment: dict[str, str]) -> None:
    store = open_store("s3://elsewhere/models")
    for ask in (store.published, store.check_writable):
        with pytest.raises(UserError, match=r"^s3://elsewhere/models: .*bucket"):
            ask()


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UserError, match=r"^s3://models: EndpointConnectionError"):
        open_store("s3://models").published()


def test_without_its_package_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['gcsfs'] = None\nfrom protos.storage import open_store\nopen_store('gs://models/x')"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "gs://models/x needs the package gcsfs: install sparcode[storage]" in result.stderr


def test_a_path_needs_no_package(tmp_path: pathlib.Path) -> None:
    script = "import sys; sys.modules['fsspec'] = None\nfrom protos.storage import open_store\nopen_store('/x')"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
    assert open_store(f"file://{tmp_path}").published() == {}
