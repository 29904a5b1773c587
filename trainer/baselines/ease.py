"""A linear model of each item by all others, in closed form."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import scipy.linalg

from protos.errors import UserError
from trainer.baselines.histories import cooccurrences, history_matrix, require
from trainer.baselines.rankers import ItemToItem
from trainer.data.splits import Split

MAX_ITEMS = 20_000
_BYTES = 12  # for each pair of items: the matrix that is inverted in place is float64, the weights are float32


@dataclasses.dataclass(frozen=True)
class EASEConfig:
    """How to learn and to ask.

    Attributes:
      l2: ridge penalty.
      half_life: of the events of a history when asked, in events; None weighs them all alike.
    """

    l2: float = 200.0
    half_life: float | None = None

    def __post_init__(self) -> None:
        require(self.l2 > 0, f"l2 of EASE is {self.l2}; it must be above 0")
        require(self.half_life is None or self.half_life > 0, f"half_life is {self.half_life}; it must be above 0")


EASE_GRID = tuple(
    itertools.starmap(EASEConfig, itertools.product((50.0, 200.0, 800.0, 3200.0), (None, 2.0, 5.0, 20.0)))
)


class EASE(ItemToItem):
    """Item-item weights in closed form (Steck, "Embarrassingly Shallow Autoencoders", WWW 2019).

    With X `[U, I]` the binary training matrix and P = (X'X + l2 I)^-1, the weights are
    B = -P / diag(P) by columns, with a diagonal of zeros, and a history x scores x B.
    """

    @classmethod
    def fit(cls, split: Split, config: EASEConfig = EASEConfig()) -> EASE:
        """Solves for the weights: 12 I^2 bytes, and time by I^3.

        Raises:
          UserError: the catalogue has more than MAX_ITEMS items.
        """
        num_items = len(split.catalogue)
        if num_items > MAX_ITEMS:
            raise UserError(
                f"EASE inverts a matrix of all pairs of items: the {num_items:,} items of {split.name} would take"
                f" {_gigabytes(num_items)}, and the limit is {MAX_ITEMS:,} items ({_gigabytes(MAX_ITEMS)});"
                " ItemKNN has no such limit"
            )
        gram = np.empty((num_items, num_items), order="F")
        for rows, counts in cooccurrences(history_matrix(split.train, num_items)):
            gram[rows] = counts
        gram[np.diag_indices_from(gram)] += config.l2
        inverse = scipy.linalg.inv(gram, overwrite_a=True, assume_a="pos")
        weights = inverse.T.astype(np.float32)  # symmetric; by rows, or each product with histories would copy it
        weights /= -np.diag(weights).copy()
        np.fill_diagonal(weights, 0.0)
        return cls(weights, config.half_life)


def _gigabytes(num_items: int) -> str:
    return f"{_BYTES * num_items**2 / 1e9:,.1f} GB"
