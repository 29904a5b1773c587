"""A node of OpenSearch for tests: fetched with Maven, run on this machine's loopback, stopped by its process."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support.data_files import REPOSITORY

_SOURCES = REPOSITORY / "tests" / "beam_index" / "search_engine"
_FETCH_SECONDS = 300
_START_SECONDS = 120
_JAVA = ("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# Without the proxies of the environment: the node is on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Engine:
    """A client of the node."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"

    def request(self, method: str, path: str, body: bytes | Mapping[str, Any] = b"", **headers: str) -> Any:
        """The answer to a request, which must succeed. Headers are named with `_` for `-`."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **{name.replace("_", "-"): each for name, each in headers.items()}}
        request = urllib.request.Request(f"{self._address}/{path}", content or None, sent, method=method)
        try:
            with _OPENER.open(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def load(self, name: str, export: pathlib.Path, num_shards: int = 1) -> None:
        """Makes an index of what `beam_index.to_elasticsearch` wrote, as its help says to.

        The last file first, so that the engine's own order is not that of the rows.
        """
        created = json.loads((export / "mapping.json").read_text()) | {"settings": {"number_of_shards": num_shards}}
        self.request("PUT", name, created)
        for path in sorted(export.glob("items-*"), reverse=True):
            encoding = {"Content_Encoding": "gzip"} if path.suffix == ".gz" else {}
            answer = self.request("POST", f"{name}/_bulk", path.read_bytes(), **encoding)
            assert not answer["errors"], answer
        self.request("POST", f"{name}/_refresh")

    def search(self, name: str, body: Mapping[str, Any]) -> list[tuple[str, float]]:
        """Ids and scores of what a search finds, best first."""
        hits = self.request("POST", f"{name}/_search", body)["hits"]["hits"]
        return [(hit["_id"], hit["_score"]) for hit in hits]


@contextlib.contextmanager
def running_engine(directory: pathlib.Path) -> Iterator[Engine]:
    """A node whose data are in `directory`; skips the test where there is no Java or no OpenSearch."""
    jars = _jars()
    port_file = directory / "port"
    command = [*_JAVA, "-cp", f"{jars}/*", str(_SOURCES / "EngineNode.java"), str(directory / "node"), str(port_file)]
    with open(directory / "log", "w") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not port_file.exists():
            text = (directory / "log").read_text()
            assert process.poll() is None, text
            assert time.monotonic() < deadline, f"no node after {_START_SECONDS} s: {text}"
            time.sleep(0.1)
        yield Engine(int(port_file.read_text()))
    finally:
        process.kill()
        process.communicate()


def _jars() -> pathlib.Path:
    """The directory of the jars that pom.xml names; fetches them once for each version of it."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}: the search engine of this test needs Java 11 or newer, and Maven to fetch it")
    pom = _SOURCES / "pom.xml"
    jars = REPOSITORY / "build" / f"search-engine-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if not jars.is_dir():
        jars.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=jars.parent) as unfinished:
            fetched = pathlib.Path(unfinished) / "jars"
            _fetch(pom, fetched)
            fetched.rename(jars)
    return jars


def _fetch(pom: pathlib.Path, directory: pathlib.Path) -> None:
    goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={directory}")
    command = ["mvn", "-q", "-B", "-f", str(pom), *goal]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"Maven did not fetch OpenSearch within {_FETCH_SECONDS} s")
    if result.returncode:
        reason, *_ = (result.stdout or result.stderr).strip().splitlines()
        pytest.skip(f"Maven cannot fetch OpenSearch: {reason[:200]}")
