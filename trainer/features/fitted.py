"""The declared features of one thing (item, event or user), fitted on training data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from protos.errors import UserError
from trainer.config import FeatureConfig
from trainer.data.features import Columns, take
from trainer.features.encoders import ENCODERS, Encoded, Encoder
from trainer.features.raw import Raw, raw_values


@dataclasses.dataclass(frozen=True)
class FittedFeatures:
    """Features with their encoders, in the order of their declaration.

    Attributes:
      place: what they are features of, for errors.
      declared: as configured.
      encoders: one a feature.
    """

    place: str
    declared: Sequence[FeatureConfig]
    encoders: Sequence[Encoder]

    def encode(self, columns: Columns) -> list[Encoded]:
        """Columns of N rows to what `FeatureSum` takes.

        Raises:
          UserError: a column is not there, or not of its kind (`raw_values`, `VectorEncoder`).
        """
        return self.encode_raw(_raw(columns, self.declared, self.place))

    def encode_raw(self, raw: Sequence[Raw]) -> list[Encoded]:
        """The same, of values as `raw_values` gives them."""
        return [encoder.encode(values) for encoder, values in zip(self.encoders, raw, strict=True)]


def fit_features(
    columns: Columns, declared: Sequence[FeatureConfig], place: str, counts: np.ndarray | None = None
) -> FittedFeatures:
    """Fits features on training data.

    Args:
      columns: of N rows.
      declared: the features.
      place: what they are features of, for errors.
      counts: `[N]` how often each row occurs; those that do not are left out. None: once each.

    Raises:
      UserError: a column is not there, or not of its kind.
    """
    if counts is not None:
        occurring = np.flatnonzero(counts)
        columns, counts = take(columns, occurring), counts[occurring]
    raw = _raw(columns, declared, place)
    encoders = [_fit(feature, values, counts) for feature, values in zip(declared, raw, strict=True)]
    return FittedFeatures(place, declared, encoders)


def _fit(feature: FeatureConfig, values: Raw, counts: np.ndarray | None) -> Encoder:
    once = np.ones(values.shape[0], np.int64)
    return ENCODERS[feature.kind].fit(values, feature, once if counts is None else counts)


def _raw(columns: Columns, declared: Sequence[FeatureConfig], place: str) -> list[Raw]:
    for feature in declared:
        if feature.name not in columns:
            raise missing_column(feature.name, place, columns)
    return [raw_values(columns[feature.name], feature, place) for feature in declared]


def missing_column(name: str, place: str, columns: Columns) -> UserError:
    """What to raise where the data of a place, such as `items`, has no column of a name."""
    has = ", ".join(map(repr, columns)) or "none"
    return UserError(f"features.{place}: the data has no {place} column {name!r}; it has {has}")
