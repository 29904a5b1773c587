"""Small servables that nobody can serve, for tests of what only moves files; and an S3 endpoint to move them to."""

from __future__ import annotations

import contextlib
import logging
import pathlib
from collections.abc import Iterator
from urllib import request

import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from protos.artifact import MANIFEST, new_artifact, write_manifest

FORMAT = "sparcode.servable/3"
INNER_MANIFEST = "assets.extra/manifest.json"
Files = dict[str, bytes]


def write_servable(directory: pathlib.Path, content: str) -> pathlib.Path:
    """A version with some files, which differ where `content` does; returns the directory."""
    with new_artifact(directory) as building:
        (building / "variables").mkdir()
        (building / "assets.extra").mkdir()
        (building / "saved_model.pb").write_text(f"graph of {content}")
        (building / "variables" / "variables.data-00000-of-00001").write_bytes(content.encode() * 1000)
        (building / "assets.extra" / "tf_serving_warmup_requests").write_text("")
        write_manifest(building, FORMAT)
        (building / MANIFEST).rename(building / INNER_MANIFEST)
    return directory


def files_of(directory: pathlib.Path) -> Files:
    """What is under a directory, by its path from there."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@contextlib.contextmanager
def s3_endpoint() -> Iterator[dict[str, str]]:
    """An S3 server on loopback with one bucket, `models`: this process's clients go there while the block runs.

    Yields the environment for clients in other processes.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would log each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            from s3fs import S3FileSystem

            # What an endpoint of this process was given before would still be there.
            request.urlopen(request.Request(f"{environment['AWS_ENDPOINT_URL']}/moto-api/reset", method="POST")).close()
            S3FileSystem(skip_instance_cache=True).mkdir("models")
            yield environment
    finally:
        server.stop()
