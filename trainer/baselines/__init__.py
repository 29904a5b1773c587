"""What SparCode must beat: rankers that need no gradient.

Each has a configuration, `fit(split, config)` and a grid of configurations to `tune` on validation.
"""

from trainer.baselines.ease import EASE, EASE_GRID, EASEConfig
from trainer.baselines.item_knn import ITEM_KNN_GRID, ItemKNN, ItemKNNConfig
from trainer.baselines.popularity import POPULARITY_GRID, Popularity, PopularityConfig
from trainer.baselines.segments import USER_SEGMENTS_GRID, UserSegments, UserSegmentsConfig
from trainer.baselines.tuning import Tuned, tune

__all__ = [
    "EASE",
    "EASE_GRID",
    "ITEM_KNN_GRID",
    "POPULARITY_GRID",
    "USER_SEGMENTS_GRID",
    "EASEConfig",
    "ItemKNN",
    "ItemKNNConfig",
    "Popularity",
    "PopularityConfig",
    "Tuned",
    "UserSegments",
    "UserSegmentsConfig",
    "tune",
]
