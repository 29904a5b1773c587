"""The download: checked, whole or absent, and quietly missing when there is no network."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import pathlib
import socket
import threading
import zipfile
from collections.abc import Iterator

import pytest

from protos.errors import UserError
from tests.support.data_files import real_data, write_movielens_csv
from trainer.data import load
from trainer.data.download import MOVIELENS_SMALL, Archive, default_cache, fetch_movielens


@pytest.fixture
def served(tmp_path) -> Iterator[Archive]:
    """A small archive on a server of this machine."""
    films = write_movielens_csv(tmp_path / "made" / "ml-small")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(films.iterdir()):
            archive.write(path, f"ml-small/{path.name}")
    site = tmp_path / "site"
    site.mkdir()
    (site / "ml-small.zip").write_bytes(buffer.getvalue())
    handler = functools.partial(_Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/ml-small.zip"
        yield Archive(url, hashlib.sha256(buffer.getvalue()).hexdigest(), len(buffer.getvalue()), "ml-small")
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args) -> None:
        """Says nothing."""


def with_changes(archive: Archive, **changes) -> Archive:
    return Archive(**(vars(archive) | changes))


def files(directory: pathlib.Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*")) if directory.exists() else []


def test_fetched_data_can_be_read(served, tmp_path):
    directory = fetch_movielens(tmp_path / "new" / "cache", served)
    assert directory == tmp_path / "new" / "cache" / "ml-small"
    assert len(load(directory)) == 5
    assert files(tmp_path / "new" / "cache") == ["ml-small", "movies.csv", "ratings.csv"]


def test_the_cache_is_used_without_a_network(served, tmp_path):
    first = fetch_movielens(tmp_path / "cache", served)
    assert fetch_movielens(tmp_path / "cache", with_changes(served, url="http://127.0.0.1:9/")) == first


@pytest.mark.parametrize("change", ["other content", "longer", "cut short"])
def test_another_file_is_refused(served, tmp_path, change):
    site = tmp_path / "site" / "ml-small.zip"
    content = site.read_bytes()
    site.write_bytes(
        {"other content": b"x" * len(content), "longer": content + b"x", "cut short": content[:-9]}[change]
    )
    with pytest.raises(UserError) as caught:
        fetch_movielens(tmp_path / "cache", served)
    assert f"{served.url} did not give the file that was expected: SHA-256" in str(caught.value)
    assert f"expected {served.sha256} ({served.bytes:,} bytes)" in str(caught.value)
    assert files(tmp_path / "cache") == []


def test_unreachable_server_gives_none_and_a_reason(tmp_path, served, caplog):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/ml-small.zip"
    assert fetch_movielens(tmp_path / "cache", with_changes(served, url=url)) is None
    assert f"{url} cannot be downloaded" in caplog.text
    assert files(tmp_path / "cache") == []


def test_silent_server_gives_none(tmp_path, served, caplog):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/ml-small.zip"
        assert fetch_movielens(tmp_path / "cache", with_changes(served, url=url), timeout=0.2) is None
    assert "timed out" in caplog.text


def test_missing_file_gives_none_and_a_reason(tmp_path, served, caplog):
    url = served.url.replace("ml-small", "gone")
    assert fetch_movielens(tmp_path / "cache", with_changes(served, url=url)) is None
    assert "404" in caplog.text


def test_default_cache_is_the_users(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == pathlib.Path("/somewhere/sparcode")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == pathlib.Path.home() / ".cache" / "sparcode"


def test_real_data_set_is_the_one_that_is_pinned():
    """The published SHA-256 of the CSV files, with their CRLF line ends, of the pinned release."""
    expected = {
        "ratings.csv": "aa289ca83157595d0df6aea1be6a4ded676ddc4385472e8313a8ed9805352646",
        "movies.csv": "5a5f32dd9bb3797b8e728a1b98958789d2b13f294a69fdfbc5727f8a9611aa07",
    }
    directory = real_data(MOVIELENS_SMALL.directory)
    for name, digest in expected.items():
        content = (directory / name).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        assert hashlib.sha256(content).hexdigest() == digest
