"""What a schema file may say, typed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Literal

from trainer.config import FeatureConfig, FeaturesConfig

WEIGHT = "weight"  # the column of events' weights
Format = Literal["", "parquet", "csv", "tsv", "jsonl", "tfrecord"]
DEFAULT_BAD_SHARE = 0.001  # as the index build's --max_bad_share


@dataclasses.dataclass(frozen=True)
class Feature(FeatureConfig):
    """A column that the model may see: a FeatureConfig, and how its column is read.

    Attributes:
      column: in the files; the feature's name by default.
      separator: between the values that one text holds, of "multi_category" and "vector".
    """

    column: str = ""
    separator: str = ""

    @property
    def source(self) -> str:
        """The name of its column in the files."""
        return self.column or self.name

    @property
    def holds_lists(self) -> bool:
        """Whether its column has a list in each row, not a text that is to be split."""
        return self.kind in ("multi_category", "vector") and not self.separator

    def config(self) -> FeatureConfig:
        """What a model's configuration says of it."""
        return FeatureConfig(**{field.name: getattr(self, field.name) for field in dataclasses.fields(FeatureConfig)})


@dataclasses.dataclass(frozen=True)
class TimeColumn:
    """When events happened.

    Attributes:
      column: of timestamps, dates, numbers since 1970, or text: ISO 8601, or such numbers.
      unit: of numbers since 1970.
      format: of text, or of numbers by their digits, as strptime takes it; ISO 8601 by default. Times without a
        zone are UTC.
    """

    column: str
    unit: Literal["s", "ms", "us", "ns"] = "s"
    format: str = ""


@dataclasses.dataclass(frozen=True)
class EventTypes:
    """What kind of event a row is.

    Attributes:
      column: of the type.
      types: weight of each type that counts; rows of other types are left out, whatever else they hold. Empty: all
        types weigh 1.
    """

    column: str
    types: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Files of one layout.

    Attributes:
      files: paths, directories of shards, globs, or URLs of these; relative ones start at the schema file.
      format: by the files' endings if "".
      separator: of the fields of CSV; one character or more, of which the latter know no quoting.
      names: of all columns of CSV without a header line.
      encoding: of CSV.
      quote: around fields of CSV that hold separators or newlines; "" is `"`, but none where tabs part the fields.
      missing: texts that mean that there is no value; the empty text always does.
      features: columns that the model may see.
    """

    files: tuple[str, ...]
    format: Format = ""
    separator: str = ""
    names: tuple[str, ...] = ()
    encoding: str = "utf-8"
    quote: Literal["", "none", '"', "'"] = ""
    missing: tuple[str, ...] = ()
    features: tuple[Feature, ...] = ()

    def read_features(self) -> tuple[Feature, ...]:
        """The features that the files have."""
        return self.features

    def amounts(self) -> frozenset[str] | None:
        """Columns of which only the size of their numbers counts; None where it is not known what columns hold."""
        return None

    def _amounts(self, amounts: Iterable[str], others: Iterable[str]) -> frozenset[str]:
        """These columns and those of such features, without those that are something else too."""
        kinds = {feature: feature.kind in ("number", "vector") for feature in self.read_features()}
        found = {*amounts, *(feature.source for feature, is_amount in kinds.items() if is_amount)}
        return frozenset(found - {*others, *(feature.source for feature, is_amount in kinds.items() if not is_amount)})


@dataclasses.dataclass(frozen=True, kw_only=True)
class InteractionSource(Source):
    """The log of interactions, a row an event.

    Attributes:
      user: column of user ids, text or whole numbers.
      item: column of item ids, alike.
      time: when; without it, the order of rows is the order of time.
      event: the type of event, and what each weighs.
      weight: column of numbers that multiply the weight of the type.
      min_weight: events that weigh less, or nothing, are left out; all others count alike in training.
    """

    user: str
    item: str
    time: TimeColumn | None = None
    event: EventTypes | None = None
    weight: str = ""
    min_weight: float = 0.0

    def read_features(self) -> tuple[Feature, ...]:
        """See Source; where events weigh something, the number `weight` is made of that, unless it names a column."""
        if not self.weight and not self.event:
            return self.features
        return tuple(each for each in self.features if (each.name, each.kind, each.column) != (WEIGHT, "number", ""))

    def columns(self) -> tuple[str, ...]:
        """All columns that are read, each once."""
        named = (self.user, self.item, self.time and self.time.column, self.event and self.event.column, self.weight)
        return tuple(dict.fromkeys([*filter(None, named), *(each.source for each in self.read_features())]))

    def amounts(self) -> frozenset[str]:
        """See Source; times too, unless they are more than a float64 holds, or are read by their digits."""
        is_amount = self.time and self.time.unit != "ns" and not self.time.format
        times = [self.time.column] if is_amount else []
        others = [self.user, self.item, *([self.event.column] if self.event else [])]
        return self._amounts([self.weight, *times], others)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table(Source):
    """What is known of items or of users, a row each.

    Attributes:
      id: column of ids as the interactions have them.
      title: column of names for people, of items.
    """

    id: str
    title: str = ""

    def columns(self) -> tuple[str, ...]:
        """All columns that are read, each once."""
        return tuple(dict.fromkeys([self.id, *filter(None, [self.title]), *(f.source for f in self.features)]))

    def amounts(self) -> frozenset[str]:
        """See Source."""
        return self._amounts([], [self.id, self.title])


@dataclasses.dataclass(frozen=True)
class Schema:
    """A schema file.

    Attributes:
      interactions: the log.
      items: the table of items, if there is one.
      users: the table of users, if there is one.
      name: of the data, for people; that of the file by default.
      max_bad_share: share of rows that may be left out because a value is missing or no such value; more fail.
    """

    interactions: InteractionSource
    items: Table | None = None
    users: Table | None = None
    name: str = ""
    max_bad_share: float = DEFAULT_BAD_SHARE

    @property
    def declared(self) -> FeaturesConfig:
        """The features as a model's configuration takes them."""
        sources = {"items": self.items, "events": self.interactions, "users": self.users}
        return FeaturesConfig(
            **{
                place: tuple(feature.config() for feature in source.features)
                for place, source in sources.items()
                if source
            }
        )
