"""Typed configuration: frozen dataclasses, checked when built, read from YAML presets and flags."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import pathlib
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import yaml

from protos.codes import CodeSpace
from protos.errors import UserError

PRESETS = pathlib.Path(__file__).with_name("presets")
DEFAULT_PRESET = "default"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(f"configuration: {message}")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How interactions become sequences.

    Attributes:
      split: "chronological" (each user's last 10% test, 10% before that validation),
        "leave_last_out" (SASRec's protocol) or "fixed" (the source brings its own split).
      max_history: length of the window of events the tokenizer sees.
      indexed_prefixes: random prefixes a user whose codes are observed when the index covers
        only codes that occur.
    """

    split: Literal["chronological", "leave_last_out", "fixed"] = "chronological"
    max_history: int = 50
    indexed_prefixes: int = 10

    def __post_init__(self) -> None:
        _require(self.max_history >= 1, f"data.max_history is {self.max_history}; it must be at least 1")
        _require(self.indexed_prefixes >= 0, f"data.indexed_prefixes is {self.indexed_prefixes}; it must be >= 0")


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """The encoder of a history (self-attention, SASRec).

    Attributes:
      dim: D, width of item embeddings and of tokens.
      num_blocks: Transformer blocks.
      num_heads: attention heads; must divide dim.
      dropout: rate on embeddings, attention and residual branches.
    """

    dim: int = 64
    num_blocks: int = 1
    num_heads: int = 2
    dropout: float = 0.3

    def __post_init__(self) -> None:
        _require(self.dim >= 1, f"tokenizer.dim is {self.dim}; it must be at least 1")
        _require(
            self.dim % self.num_heads == 0,
            f"tokenizer.num_heads {self.num_heads} does not divide tokenizer.dim {self.dim}",
        )
        _require(0 <= self.dropout < 1, f"tokenizer.dropout is {self.dropout}; it must be in [0, 1)")


@dataclasses.dataclass(frozen=True)
class QuantizerConfig:
    """The vector quantizer.

    Attributes:
      structure: "residual" (token i quantises what the tokens before it left over) or "product"
        (K_u independent tokens, each split over M shared codebooks).
      num_query_tokens: K_u.
      num_codebooks: M; must divide the token width. 1 for "residual".
      num_codewords: N of each codebook.
      gradient: "straight_through" or "commit_only" (the paper to the letter).
      decay: of the exponential moving averages, a step.
      commit_weight: weight of the commitment loss.
      revive_fraction: a codeword whose average count is below this fraction of the mean count is
        placed anew on a random token of the batch; 0 turns revival off.
      warmup_epochs: epochs trained unquantised before k-means places the codewords.
    """

    structure: Literal["residual", "product"] = "residual"
    num_query_tokens: int = 4
    num_codebooks: int = 1
    num_codewords: int = 256
    gradient: Literal["straight_through", "commit_only"] = "straight_through"
    decay: float = 0.99
    commit_weight: float = 0.25
    revive_fraction: float = 0.05
    warmup_epochs: int = 5

    def __post_init__(self) -> None:
        for name in ("num_query_tokens", "num_codebooks", "num_codewords"):
            value = getattr(self, name)
            _require(value >= 1, f"quantizer.{name} is {value}; it must be at least 1")
        _require(
            self.structure == "product" or self.num_codebooks == 1,
            f"quantizer.num_codebooks is {self.num_codebooks}, but structure {self.structure!r} has one codebook a"
            " token; set it to 1 or choose structure 'product'",
        )
        _require(0 < self.decay < 1, f"quantizer.decay is {self.decay}; it must be in (0, 1)")
        _require(
            self.gradient == "straight_through" or self.commit_weight > 0,
            "quantizer.gradient 'commit_only' learns from the commitment loss alone; commit_weight must be > 0",
        )

    @property
    def num_slots(self) -> int:
        """Token slots with codebooks of their own."""
        return 1 if self.structure == "product" else self.num_query_tokens

    @property
    def code_space(self) -> CodeSpace:
        """All keys that this quantizer can give."""
        return CodeSpace(self.num_slots, self.num_codebooks, self.num_codewords)


@dataclasses.dataclass(frozen=True)
class ScorerConfig:
    """The hybrid scorer: an inner product and an MLP over products of query and item tokens.

    Attributes:
      num_item_tokens: K_c.
      product_dim: width of the products of the query token with each item token.
      hidden: units of the MLP's hidden layer; 0 leaves the inner product alone.
      temperature: the inner product of unit vectors is divided by this.
      initial_bias: where b of relu(S + b) starts; positive, or the sums of ReLUs die.
    """

    num_item_tokens: int = 4
    product_dim: int = 8
    hidden: int = 8
    temperature: float = 0.05
    initial_bias: float = 20.0

    def __post_init__(self) -> None:
        for name in ("num_item_tokens", "product_dim"):
            value = getattr(self, name)
            _require(value >= 1, f"scorer.{name} is {value}; it must be at least 1")
        _require(self.hidden >= 0, f"scorer.hidden is {self.hidden}; it must be >= 0")
        _require(self.temperature > 0, f"scorer.temperature is {self.temperature}; it must be > 0")


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Sampled softmax over the positive and negatives shared by the whole batch.

    Attributes:
      in_batch_negatives: drawn from the positives of the batch.
      uniform_negatives: drawn uniformly from the catalogue.
      log_q: whether negatives are corrected by the log of their sampling probability.
    """

    in_batch_negatives: int = 256
    uniform_negatives: int = 256
    log_q: bool = True

    def __post_init__(self) -> None:
        for name in ("in_batch_negatives", "uniform_negatives"):
            value = getattr(self, name)
            _require(value >= 0, f"loss.{name} is {value}; it must be >= 0")
        _require(self.num_negatives >= 1, "loss: in_batch_negatives and uniform_negatives are both 0; set one")

    @property
    def num_negatives(self) -> int:
        """Negatives shared by the batch."""
        return self.in_batch_negatives + self.uniform_negatives


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The training loop.

    Attributes:
      epochs: at most so many.
      batch_size: windows of max_history events a step.
      learning_rate: of Adam, reached after warmup_steps.
      warmup_steps: steps of linear warm-up.
      weight_decay: decoupled (AdamW); 0 turns it off.
      patience: validations without a better NDCG@50 before training stops early.
      validate_every: epochs between validations.
      validation_users: at most so many users are ranked at each validation.
      checkpoint_every: epochs between checkpoints a killed run resumes from.
      seed: of weights, order, dropout and negatives.
      deterministic: bit-equal results from equal seeds (slower).
    """

    epochs: int = 40
    batch_size: int = 16
    learning_rate: float = 0.003
    warmup_steps: int = 100
    weight_decay: float = 0.0
    patience: int = 3
    validate_every: int = 2
    validation_users: int = 5000
    checkpoint_every: int = 1
    seed: int = 0
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "validate_every", "validation_users", "checkpoint_every"):
            value = getattr(self, name)
            _require(value >= 1, f"training.{name} is {value}; it must be at least 1")
        _require(self.learning_rate > 0, f"training.learning_rate is {self.learning_rate}; it must be > 0")


@dataclasses.dataclass(frozen=True)
class Config:
    """All that a training run is made from; one section each."""

    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    scorer: ScorerConfig = ScorerConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self) -> None:
        dim, parts = self.tokenizer.dim, self.quantizer.num_codebooks
        _require(
            dim % parts == 0,
            f"quantizer.num_codebooks {parts} (M) does not divide tokenizer.dim {dim} (D): a token is split into M"
            " equal parts",
        )

    def to_yaml(self) -> str:
        """The whole configuration, every default written out."""
        return yaml.safe_dump(dataclasses.asdict(self), sort_keys=False)


def from_mapping(values: Mapping[str, Any], place: str) -> Config:
    """Builds a Config from nested mappings such as a YAML file holds.

    Args:
      values: section -> field -> value; what is absent keeps its default.
      place: what to call the source in an error.

    Raises:
      UserError: an unknown section or field, a value of the wrong type, or sizes that disagree.
    """
    sections = typing.get_type_hints(Config)
    built = {}
    for section, fields in values.items():
        _known(section, sections, f"{place}: section")
        if not isinstance(fields, Mapping):
            raise UserError(f"{place}: section {section!r} holds {fields!r}; expected fields with values")
        kind = sections[section]
        types = typing.get_type_hints(kind)
        for name in fields:
            _known(name, types, f"{place}: field of section {section!r}")
        built[section] = kind(
            **{name: _typed(value, types[name], f"{place}: {section}.{name}") for name, value in fields.items()}
        )
    return Config(**built)


def _known(name: str, choices: Mapping[str, Any], what: str) -> None:
    if name in choices:
        return
    close = difflib.get_close_matches(str(name), choices, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise UserError(f"{what} {name!r} is unknown{hint} It knows: {', '.join(choices)}")


def _typed(value: Any, kind: Any, place: str) -> Any:
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise UserError(f"{place} is {value!r}; choose one of {', '.join(map(repr, choices))}")
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{place} is {value!r}; expected {kind.__name__}")
    return value


def preset_names() -> list[str]:
    """Presets that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load(preset_or_file: str, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Config:
    """Reads a preset by name or a YAML file by path, then applies overrides (section -> field -> value)."""
    path = pathlib.Path(preset_or_file)
    if preset_or_file in preset_names():
        path = PRESETS / f"{preset_or_file}.yaml"
    elif path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise UserError(
            f"configuration {preset_or_file!r} is neither a preset ({', '.join(preset_names())}) nor a .yaml file that"
            " exists"
        )
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(values, Mapping):
        raise UserError(f"{path}: holds {type(values).__name__}; expected sections with fields")
    merged = {section: dict(fields) if isinstance(fields, Mapping) else fields for section, fields in values.items()}
    for section, fields in (overrides or {}).items():
        merged[section] = {**(merged.get(section) or {}), **fields}
    return from_mapping(merged, str(preset_or_file))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds one flag a field, `--section.field VALUE`, and `--config`."""
    parser.add_argument(
        "--config",
        default=DEFAULT_PRESET,
        metavar="PRESET_OR_FILE",
        help=f"a preset ({', '.join(preset_names())}) or a YAML file (default: {DEFAULT_PRESET})",
    )
    defaults = Config()
    for section in dataclasses.fields(Config):
        group = parser.add_argument_group(f"override section {section.name!r} of the configuration")
        current = getattr(defaults, section.name)
        for field in dataclasses.fields(current):
            group.add_argument(
                f"--{section.name}.{field.name}",
                type=yaml.safe_load,
                metavar="VALUE",
                help=f"(default: {getattr(current, field.name)})",
            )


def from_flags(arguments: argparse.Namespace, defaults: Mapping[str, Mapping[str, Any]] | None = None) -> Config:
    """The configuration that flags made by `add_flags` ask for; they win over `defaults`, which win over the preset."""
    overrides = {section: dict(fields) for section, fields in (defaults or {}).items()}
    for name, value in vars(arguments).items():
        section, dot, field = name.partition(".")
        if dot and value is not None:
            overrides.setdefault(section, {})[field] = value
    return load(arguments.config, overrides)


def parse(argv: Sequence[str]) -> Config:
    """A configuration from flags alone."""
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return from_flags(parser.parse_args(argv))
