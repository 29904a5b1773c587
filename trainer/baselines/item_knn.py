"""Items that the same users took."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import scipy.sparse

from trainer.baselines.histories import cooccurrences, history_matrix, require
from trainer.baselines.rankers import ItemToItem
from trainer.data.splits import Split
from trainer.evaluation import top_k_unseen


@dataclasses.dataclass(frozen=True)
class ItemKNNConfig:
    """How to learn and to ask.

    Attributes:
      neighbours: most similar items kept for each item.
      shrink: puts off similarities that rest on few users.
      half_life: of the events of a history when asked, in events; None weighs them all alike.
    """

    neighbours: int = 100
    shrink: float = 10.0
    half_life: float | None = None

    def __post_init__(self) -> None:
        require(self.neighbours >= 1, f"neighbours of ItemKNN is {self.neighbours}; it must be at least 1")
        require(self.shrink >= 0, f"shrink of ItemKNN is {self.shrink}; it must be >= 0")
        require(self.half_life is None or self.half_life > 0, f"half_life is {self.half_life}; it must be above 0")


ITEM_KNN_GRID = tuple(
    itertools.starmap(ItemKNNConfig, itertools.product((50, 500), (0.0, 10.0, 100.0, 1000.0), (None, 2.0, 5.0, 20.0)))
)


class ItemKNN(ItemToItem):
    """Item-based nearest neighbours (Deshpande & Karypis, "Item-Based Top-N Recommendation Algorithms", TOIS 2004).

    Of n_i users of item i and n_ij users of both i and j, the similarity is

        s_ij = n_ij / (sqrt(n_i n_j) + shrink),

    the shrunk cosine of Dacrema et al. (RecSys 2019). As there, each item keeps its most similar
    others, the smaller row among equals, and its score is the sum of its similarities to those of
    them that the history has. The weights are sparse, `[I, I]` float64.
    """

    @classmethod
    def fit(cls, split: Split, config: ItemKNNConfig = ItemKNNConfig()) -> ItemKNN:
        """Finds the neighbours of all items, a block of items at a time."""
        seen = history_matrix(split.train, len(split.catalogue))
        norms = np.sqrt(seen.sum(axis=0, dtype=np.float64))
        blocks = []
        for rows, counts in cooccurrences(seen):
            similarities = counts / (np.outer(norms[rows], norms) + config.shrink)
            blocks.append(_keep_best(similarities, np.arange(rows.start, rows.stop), config.neighbours))
        return cls(scipy.sparse.vstack(blocks).T.tocsr(), config.half_life)


def _keep_best(similarities: np.ndarray, items: np.ndarray, count: int) -> scipy.sparse.csr_array:
    """The `count` greatest positive similarities of each item to another one, `[b, I]` for b items."""
    ranked = top_k_unseen(similarities, items[:, None], count)
    rows, places = np.nonzero(ranked >= 0)
    columns = ranked[rows, places]
    kept = scipy.sparse.csr_array((similarities[rows, columns], (rows, columns)), shape=similarities.shape)
    kept.eliminate_zeros()
    return kept
