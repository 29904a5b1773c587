"""What an index can hold at most."""

from __future__ import annotations

from beam_index.files import MAX_SHARDS
from protos.errors import UserError


def require_block_fits(chunks: int, spans: int) -> None:
    """Raises UserError where the block, a file for each chunk of codes and span of items, has more files than names."""
    if chunks * spans > MAX_SHARDS:
        raise UserError(
            f"a completion block of {chunks:,} x {spans:,} files is too large: the most is {MAX_SHARDS:,}; build with"
            " --no_block, or index fewer codes (--codes observed, or a smaller code space)"
        )
