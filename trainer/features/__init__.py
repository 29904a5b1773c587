"""Features of items, events and users: declared in the configuration, encoded alike in training and serving."""

from trainer.features.fitted import FittedFeatures, fit_features
from trainer.features.layers import FeatureSum, FeatureTable, RowFeatures

__all__ = ["FeatureSum", "FeatureTable", "FittedFeatures", "RowFeatures", "fit_features"]
