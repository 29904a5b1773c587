"""The files of an index: shards of records, each complete under its name or not there."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator

import tensorflow as tf

from protos import artifact
from protos.errors import UserError

RECORDS = ".tfrecord"
UNFINISHED = ".unfinished-"
_BATCH_RECORDS = 64
# Names of shards have five digits.
MAX_SHARDS = 99_999


def shard_name(kind: str, shard: int, num_shards: int) -> str:
    """File name of a shard of `kind`, "postings" or "block"."""
    return f"{kind}-{shard:05d}-of-{num_shards:05d}{RECORDS}"


def write_records(path: pathlib.Path, records: Iterable[bytes]) -> None:
    """Writes a TFRecord file.

    It gets its name when it is whole. A worker that runs the same work again, as Beam may have it
    do, replaces it by an equal one.

    Raises:
      UserError: the file cannot be written.
    """
    with whole_file(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
        for record in records:
            writer.write(record)


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the temporary name of a file that gets its own when the block ends without an error.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        with artifact.whole_file(path, UNFINISHED) as temporary:
            yield temporary
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"cannot write {path}: {_reason(error)}") from error


def discard_unfinished(directory: pathlib.Path) -> None:
    """Removes what a worker that was killed had begun to write."""
    for path in directory.glob(f"{UNFINISHED}*"):
        path.unlink()


def read_records(directory: str | os.PathLike[str], kind: str) -> Iterator[bytes]:
    """The records of all shards of a kind, in the order of their numbers.

    Raises:
      UserError: a file is truncated or damaged.
    """
    for path in sorted(pathlib.Path(directory).glob(f"{kind}-?????-of-?????.tfrecord")):
        yield from read_file(path)


def read_file(path: pathlib.Path) -> Iterator[bytes]:
    """The records of one file; raises UserError if it is truncated, damaged or not there."""
    try:
        # In batches: a record at a time costs a call of TensorFlow each.
        for batch in tf.data.TFRecordDataset(str(path)).batch(_BATCH_RECORDS).as_numpy_iterator():
            yield from batch
    except tf.errors.NotFoundError as error:
        raise UserError(f"{path} is missing; build the index again") from error
    except tf.errors.DataLossError as error:
        raise UserError(f"{path} is truncated or damaged: {_reason(error)}; build the index again") from error


def lost_records(what: str) -> UserError:
    """The error for a build in which less arrived than was made; `what` says where, what was found and expected."""
    return UserError(
        f"the runner lost records: {what}; no index was written: build again, with"
        " --direct_running_mode=in_memory if it was Beam's local runner with several workers"
    )


def _reason(error: OSError | tf.errors.OpError) -> str:
    return (error.message if isinstance(error, tf.errors.OpError) else error.strerror) or str(error)
