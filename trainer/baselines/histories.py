"""Histories as sparse matrices, and what the baselines count in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse

from protos.errors import UserError

_BLOCK_CELLS = 2**23  # numbers in a block of co-occurrences: 32 MB of float32


def require(condition: bool, message: str) -> None:
    """Refuses a configuration.

    Raises:
      UserError: the condition does not hold.
    """
    if not condition:
        raise UserError(f"baseline: {message}")


def history_matrix(
    histories: Sequence[np.ndarray], num_items: int, half_life: float | None = None
) -> scipy.sparse.csr_array:
    """Weights of the items of each history `[B, I]` float32.

    The event that came a events before the last one weighs 2^(-a / half_life).

    Args:
      histories: B arrays of rows, oldest first, no item twice in one.
      num_items: I.
      half_life: in events; None weighs all events 1.
    """
    lengths = np.array([len(history) for history in histories], np.int64)
    ends = np.cumsum(lengths)
    columns = np.concatenate([np.zeros(0, np.int32), *histories])
    weights = np.ones(len(columns), np.float32)
    if half_life is not None:
        ages = np.repeat(ends, lengths) - 1 - np.arange(len(columns))
        weights = np.exp2(-ages / half_life).astype(np.float32)
    return scipy.sparse.csr_array((weights, columns, np.append(0, ends)), shape=(len(histories), num_items))


def cooccurrences(seen: scipy.sparse.csr_array) -> Iterator[tuple[slice, np.ndarray]]:
    """X'X of a binary matrix `[U, I]`, some rows at a time: (rows, counts `[b, I]` float32), in order.

    A count is exact up to 2^24 users. However large the catalogue, a block has some 8 million numbers.
    """
    by_item = seen.T.tocsr()
    num_items = by_item.shape[0]
    step = max(1, _BLOCK_CELLS // num_items)
    for start in range(0, num_items, step):
        rows = slice(start, min(start + step, num_items))
        yield rows, (by_item[rows] @ seen).toarray()
