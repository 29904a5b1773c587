"""Who takes part in a comparison, and the runs that this comes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from protos.errors import UserError
from trainer.config import Config, from_mapping

MODELS = {
    "popularity": "the most frequent items, the same for everyone",
    "segments": "the most frequent items of the user's group",
    "item_knn": "items that the same users took (nearest neighbours)",
    "ease": "EASE, a linear item-to-item model in closed form",
    "two_tower": "one vector of the user, one of the item, a dot product",
    "distilled_two_tower": "two_tower, taught by the all_to_all of the same seed",
    "late_interaction": "several vectors of the user and of the item; the best matches are summed",
    "sparcode": "SparCode, unpruned; and served over gRPC with sums of each kind",
    "all_to_all": "SparCode's scorer on tokens that are not quantised, every item scored: the ceiling",
}
UNTRAINED = ("popularity", "segments", "item_knn", "ease")
INDEX_FIELDS = ("postings_per_code",)
_INDEX = "index"


@dataclasses.dataclass(frozen=True)
class Variation:
    """One field of SparCode's configuration, or of its index, with another value."""

    section: str
    field: str
    value: Any

    def __str__(self) -> str:
        return f"{self.section}.{self.field}={self.value}"

    @property
    def of_index(self) -> bool:
        """Whether the model stays as it is."""
        return self.section == _INDEX

    def index_flags(self) -> list[str]:
        """Options of the index build."""
        return [f"--{self.field}={self.value}"] if self.of_index else []

    def apply(self, config: Config) -> Config:
        """The configuration with the field changed.

        Raises:
          UserError: there is no such section or field, or the value is not one of it.
        """
        if self.of_index:
            return config
        values = dataclasses.asdict(config)
        values[self.section] = {**values.get(self.section, {}), self.field: self.value}
        return from_mapping(values, f"--vary {self}")


@dataclasses.dataclass(frozen=True)
class Run:
    """One model to fit with one seed, and to measure.

    Attributes:
      model: one of MODELS.
      seed: of training; 0 for models that have none.
      variation: of "sparcode"; None for the model as configured.
    """

    model: str
    seed: int
    variation: Variation | None = None

    def __str__(self) -> str:
        return self.label(self.model) if self.model in UNTRAINED else f"{self.label(self.model)}, seed {self.seed}"

    def label(self, row: str) -> str:
        """The name in tables of a row of this run."""
        return f"{row}[{self.variation}]" if self.variation else row

    @property
    def directory(self) -> str:
        """Name of the directory; no brackets, which TensorFlow takes for a pattern."""
        return "-".join(map(str, filter(None, (self.model, self.variation)))) + f"-{self.seed}"

    @property
    def needs_another(self) -> bool:
        """Whether it builds on what another run leaves behind."""
        return self.model == "distilled_two_tower" or bool(self.variation and self.variation.of_index)

    def config(self, base: Config) -> Config:
        """The configuration to train with."""
        config = self.variation.apply(base) if self.variation else base
        config = dataclasses.replace(config, training=dataclasses.replace(config.training, seed=self.seed))
        if self.model != "all_to_all":
            return config
        tokens = config.quantizer.num_input_vectors
        quantizer = dataclasses.replace(config.quantizer, structure="none", num_query_tokens=tokens)
        return dataclasses.replace(config, quantizer=quantizer)


def runs(models: Sequence[str], seeds: Sequence[int], variations: Sequence[Variation]) -> list[Run]:
    """All runs, in the order of MODELS, a model's variations after it."""

    def of(model: str) -> Iterator[Run]:
        if model in UNTRAINED:
            yield Run(model, 0)
            return
        for variation in (None, *variations) if model == "sparcode" else (None,):
            for seed in seeds:
                yield Run(model, seed, variation)

    return [run for model in MODELS if model in models for run in of(model)]


def parse_models(text: str) -> list[str]:
    """Names with commas between them.

    Raises:
      UserError: a name is unknown.
    """
    names = text.split(",")
    for name in names:
        if name not in MODELS:
            raise UserError(f"--models: {name!r} is unknown; choose from {', '.join(MODELS)}")
    return names


def parse_seeds(text: str) -> list[int]:
    """Distinct integers with commas between them.

    Raises:
      UserError: a seed is no integer >= 0, or is there twice.
    """
    seeds = text.split(",")
    if not all(seed.isdecimal() for seed in seeds) or len({int(seed) for seed in seeds}) < len(seeds):
        raise UserError(f"--seeds {text!r}: expected different integers >= 0, as in 0,1,2")
    return [int(seed) for seed in seeds]


def parse_variations(texts: Sequence[str], base: Config) -> list[Variation]:
    """Lists like `quantizer.gradient=rotation,commit_only`, one variation a value.

    Raises:
      UserError: a list is not written so, its field does not exist, or a value will not do.
    """
    found = [variation for text in texts for variation in _parse_list(text)]
    for variation in found:
        _check(variation, base)
    return list(dict.fromkeys(found))


def _parse_list(text: str) -> Iterator[Variation]:
    name, equals, values = text.partition("=")
    section, dot, field = name.partition(".")
    if not (equals and dot and all(values.split(","))):
        raise UserError(f"--vary {text!r}: expected SECTION.FIELD=VALUE,VALUE,... as in quantizer.gradient=rotation")
    for value in values.split(","):
        yield Variation(section, field, yaml.safe_load(value))


def _check(variation: Variation, base: Config) -> None:
    name = f"{variation.section}.{variation.field}"
    if variation.of_index:
        if variation.field not in INDEX_FIELDS:
            raise UserError(f"--vary {variation}: {name} is unknown; of the index it varies {', '.join(INDEX_FIELDS)}")
        if not (type(variation.value) is int and variation.value >= 1):
            raise UserError(f"--vary {variation}: expected an integer of at least 1")
        return
    if name in ("data.split", "training.seed"):
        raise UserError(f"--vary {variation}: {name} is the same for all that is compared; see --{name} and --seeds")
    if variation.apply(base).quantizer.structure == "none":
        raise UserError(f"--vary {variation}: no index can serve tokens without codes; that model is all_to_all")
