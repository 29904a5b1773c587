"""Places for versions: a directory, memory, and a bucket of an S3 server."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Callable, Iterator

import pytest

from protos.storage import Store, open_store
from tests.support.published import s3_endpoint, write_servable

PLACES = ("path", "memory", "s3")
_numbers = itertools.count()


@pytest.fixture(scope="package")
def s3_environment() -> Iterator[dict[str, str]]:
    """The environment of who asks the S3 server, which runs until these tests end."""
    with s3_endpoint() as environment:
        yield environment


@pytest.fixture(params=PLACES)
def url(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """A place where nothing is."""
    if request.param == "path":
        return str(tmp_path / "published")
    if request.param == "s3":
        request.getfixturevalue("s3_environment")
    bucket = {"memory": "memory://", "s3": "s3://models/"}[request.param]
    return f"{bucket}place-{next(_numbers)}/published"


@pytest.fixture
def store(url: str) -> Store:
    """The versions there."""
    return open_store(url)


@pytest.fixture
def servable(tmp_path: pathlib.Path) -> Callable[[str], pathlib.Path]:
    """Makes a servable of some content."""
    return lambda content: write_servable(tmp_path / "servables" / content, content)
