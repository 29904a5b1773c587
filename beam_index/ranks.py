"""The ranks behind the posting lists, exact scores and all: what an updatable index keeps for `--base_index`."""

from __future__ import annotations

import pathlib

import numpy as np

from beam_index.files import whole_file
from beam_index.geometry import CHUNK_CODES, chunk_count, chunk_span
from beam_index.plan import Plan
from beam_index.postings import NO_RANK, widened
from protos.errors import UserError

# Stands for ranks that are not known, after all that are: below NO_RANK, which says that there are no more.
UNKNOWN = NO_RANK - np.uint64(1)


def ranks_file(chunk: int, num_codes: int) -> str:
    """Name of the file of a chunk."""
    return f"ranks-{chunk:05d}-of-{chunk_count(num_codes):05d}.npy"


def write_ranks(of_chunk: tuple[int, np.ndarray], plan: Plan, keys: np.ndarray) -> str:
    """Writes the keys of a chunk's codes and their ranks `[n, depth]`, and returns the file's name."""
    chunk, ranks = of_chunk
    codes = chunk_span(chunk, len(keys))
    name = ranks_file(chunk, len(keys))
    own = keys[codes.start : codes.stop, None].astype(np.uint64)
    with whole_file(plan.path(name)) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate([own, widened(ranks, plan.depth)], axis=1))
    return name


def read_ranks(directory: str, chunk: int, keys: np.ndarray, num_codes: int) -> np.ndarray:
    """The ranks `[n, depth]` that an index keeps of a chunk.

    Raises:
      UserError: they are of other codes than `keys [n]`.
    """
    path = pathlib.Path(directory) / ranks_file(chunk, num_codes)
    content = np.load(path) if path.exists() else np.zeros((0, 1), np.uint64)
    if not np.array_equal(content[:, 0], keys.astype(np.uint64)):
        raise UserError(
            f"--base_index {directory} has other codes than this build, from the {chunk * CHUNK_CODES}th on: the"
            " observed codes have changed; build in full, or give the --queries that the base was built with"
        )
    return content[:, 1:]
