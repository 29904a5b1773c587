"""Code keys: the one integer that names a posting list, for every room."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class CodeSpace:
    """All codes a query token can take.

    A token of slot `s` with codes `c_0 .. c_{M-1}` has the key

        key = s * N^M + sum_m c_m * N^m        (M codebooks of N codewords)

    Slots that share their codebooks (`product`) count as one slot, number 0.

    Attributes:
      num_slots: slots with codebooks of their own; 1 where all token slots share them.
      num_codebooks: M.
      num_codewords: N.
    """

    num_slots: int
    num_codebooks: int
    num_codewords: int

    def __post_init__(self) -> None:
        if self.size > 2**62:
            raise ValueError(
                f"{self.num_slots} slots x {self.num_codewords}^{self.num_codebooks} codes do not fit an int64 key;"
                " use fewer codebooks or codewords"
            )

    @property
    def codes_per_slot(self) -> int:
        """N^M."""
        return self.num_codewords**self.num_codebooks

    @property
    def size(self) -> int:
        """Number of distinct keys; keys are 0 .. size - 1."""
        return self.num_slots * self.codes_per_slot

    def key(self, slots: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Keys of tokens.

        Args:
          slots: `[...]` integers in `[0, num_slots)`.
          codes: `[..., M]` integers in `[0, N)`.

        Returns:
          `[...]` int64.
        """
        weights = self.num_codewords ** np.arange(self.num_codebooks, dtype=np.int64)
        return np.asarray(slots, np.int64) * self.codes_per_slot + np.asarray(codes, np.int64) @ weights

    def decode(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `key`: `[...]` keys to `[...]` slots and `[..., M]` codes, both int32."""
        keys = np.asarray(keys, np.int64)
        slots, rest = np.divmod(keys, self.codes_per_slot)
        weights = self.num_codewords ** np.arange(self.num_codebooks, dtype=np.int64)
        codes = rest[..., None] // weights % self.num_codewords
        return slots.astype(np.int32), codes.astype(np.int32)
