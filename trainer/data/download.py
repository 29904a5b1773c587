"""Fetches MovieLens latest-small, once, and lets nothing else in."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import io
import logging
import os
import pathlib
import tempfile
import urllib.request
import zipfile

from protos.errors import UserError


@dataclasses.dataclass(frozen=True)
class Archive:
    """A zip file whose content is known beforehand.

    Attributes:
      url: where it is published.
      sha256: of the zip file.
      bytes: its size; no more is read.
      directory: that the zip file holds.
    """

    url: str
    sha256: str
    bytes: int
    directory: str


# Size and sum as TensorFlow Datasets publishes them (url_checksums/movielens.txt), of the release of
# September 2018. GroupLens' licence: research use, no commercial use, redistribution on the same terms.
MOVIELENS_SMALL = Archive(
    url="https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",
    sha256="696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
    bytes=978_202,
    directory="ml-latest-small",
)


_LOG = logging.getLogger(__name__)


def default_cache() -> pathlib.Path:
    """`sparcode` in the user's cache directory."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "sparcode"


def fetch_movielens(
    cache: str | os.PathLike[str] | None = None, archive: Archive = MOVIELENS_SMALL, timeout: float = 10.0
) -> pathlib.Path | None:
    """The archive's directory, downloaded if the cache does not have it.

    Args:
      cache: default_cache() if None; made if missing. The directory appears in it only when it is
        whole and checked.
      archive: what to fetch.
      timeout: seconds to wait for the server, at the start and whenever it falls silent.

    Returns:
      The directory, ready for `trainer.data.load`; None, with a warning that says why, if the server
      does not give the file.

    Raises:
      UserError: what came is not the archive.
    """
    target = (default_cache() if cache is None else pathlib.Path(cache)) / archive.directory
    if target.is_dir():
        return target
    try:
        content = _download(archive, timeout)
    except (OSError, http.client.HTTPException) as error:
        _LOG.warning("%s cannot be downloaded: %s", archive.url, error)
        return None
    _check(content, archive)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as building:
        zipfile.ZipFile(io.BytesIO(content)).extractall(building)
        (pathlib.Path(building) / archive.directory).rename(target)
    return target


def _download(archive: Archive, timeout: float) -> bytes:
    with urllib.request.urlopen(archive.url, timeout=timeout) as response:
        # One byte more than expected is enough to see that it is another file.
        return response.read(archive.bytes + 1)


def _check(content: bytes, archive: Archive) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != archive.sha256:
        raise UserError(
            f"{archive.url} did not give the file that was expected: SHA-256 {found}, expected {archive.sha256}"
            f" ({archive.bytes:,} bytes); it was changed on the way or at its source. Give a data directory of your"
            " own, or 'synthetic'"
        )
