"""The declared features of one thing (item, event or user), fitted on training data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from protos.errors import UserError
from trainer.config import FeatureConfig
from trainer.data.features import Columns
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


def fit_features(columns: Columns, declared: Sequence[FeatureConfig], place: str) -> FittedFeatures:
    """Fits features on training data.

    Raises:
      UserError: a column is not there, or not of its kind.
    """
    raw = _raw(columns, declared, place)
    encoders = [ENCODERS[feature.kind].fit(values, feature) for feature, values in zip(declared, raw, strict=True)]
    return FittedFeatures(place, declared, encoders)


def _raw(columns: Columns, declared: Sequence[FeatureConfig], place: str) -> list[Raw]:
    for feature in declared:
        if feature.name not in columns:
            raise missing_column(feature.name, place, columns)
    return [raw_values(columns[feature.name], feature, place) for feature in declared]


def missing_column(name: str, place: str, columns: Columns) -> UserError:
    """What to raise where the data of a place, such as `items`, has no column of a name."""
    has = ", ".join(map(repr, columns)) or "none"
    return UserError(f"features.{place}: the data has no {place} column {name!r}; it has {has}")
