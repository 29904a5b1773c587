"""How many bytes an index takes at most, before it is built.

A posting is its row and one, two or four bytes of score. A row takes three bytes or four (protos/postings.py); as a
varint, beside a whole score, it counts as the greatest row of the catalogue.
"""

from __future__ import annotations

import bisect
import dataclasses

from beam_index.block_files import MAX_OVERHEAD
from beam_index.budget.choice import Candidate
from beam_index.files import MAX_SHARDS
from beam_index.geometry import Span, chunk_count, span_count, tile_count
from beam_index.plan import Plan
from beam_index.ready_lists import ready_lists
from protos.postings import row_bytes

# Of a record beside its postings: 16 of its frame, 11 of the key, 5 of threshold and 5 of scale, and tag and length
# of rows and of scores, and 2 for the size of each.
_LIST_OVERHEAD = 16 + 11 + 5 + 5 + 2 * 6 + 2 * 2
_VARINT_BITS = 7


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What the sizes of all indexes of one export depend on.

    Attributes:
      num_codes: that get a list.
      num_items: of the catalogue.
      ready_lists: that are in any index.
      ready_postings: in them.
    """

    num_codes: int
    num_items: int
    ready_lists: int
    ready_postings: int

    def ready(self, score_bits: int) -> int:
        """Bytes of the ready lists."""
        return self.ready_lists * _LIST_OVERHEAD + self.ready_postings * self._posting(score_bits)

    def lists(self, length: int, score_bits: int) -> int:
        """Bytes of a list of `length` postings for each code."""
        return self.num_codes * (_LIST_OVERHEAD + min(length, self.num_items) * self._posting(score_bits))

    def _posting(self, score_bits: int) -> int:
        greatest = self.num_items - 1
        varint = max(1, -(-greatest.bit_length() // _VARINT_BITS))
        return score_bits // 8 + (varint if score_bits == 32 else row_bytes(greatest))

    @property
    def block(self) -> int:
        """Bytes of the completion block."""
        tiles = tile_count(self.num_items)
        return self.num_codes * (8 * tiles + self.num_items) + MAX_OVERHEAD * tiles * chunk_count(self.num_codes)

    @property
    def block_is_possible(self) -> bool:
        """Whether its files have names."""
        return chunk_count(self.num_codes) * span_count(self.num_items) <= MAX_SHARDS

    def total(self, block: bool, score_bits: int, length: int) -> int:
        """Bytes of an index."""
        return self.ready(score_bits) + self.lists(length, score_bits) + (self.block if block else 0)

    def longest(self, block: bool, score_bits: int, max_bytes: int) -> int:
        """Postings a code of the longest lists within `max_bytes`; 0 if not even one posting fits."""
        lengths = range(1, self.num_items + 1)
        return bisect.bisect_right(lengths, max_bytes, key=lambda length: self.total(block, score_bits, length))

    def candidate(self, block: bool, score_bits: int, length: int) -> Candidate:
        """An index of these choices."""
        return Candidate(block, score_bits, length, self.total(block, score_bits, length))


def sizes_of(plan: Plan, num_codes: int) -> Sizes:
    """Reads all ready lists of the export, one at a time."""
    ready = ready_lists(plan.model, Span(0, plan.num_ready_lists), plan.floor, plan.removed)
    return Sizes(num_codes, plan.num_items, plan.num_ready_lists, sum(len(each.items) for each in ready))
