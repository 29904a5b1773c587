"""Typed configuration: frozen dataclasses, checked when built, read from YAML presets and flags."""

from __future__ import annotations

import argparse
import dataclasses
import json
import keyword
import pathlib
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import yaml

from protos.codes import CodeSpace
from protos.errors import UserError
from protos.query_inputs import RESERVED_NAMES
from trainer.field_texts import field_texts
from trainer.mappings import built, known
from trainer.yaml_text import read_yaml, value_of

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
      indexed_users: at most so many users whose codes are observed then; 0 takes all, and of prepared data 10,000.
      shuffled_windows: of prepared data, windows that are shuffled at once; memory holds twice as many.
    """

    split: Literal["chronological", "leave_last_out", "fixed"] = "chronological"
    max_history: int = 50
    indexed_prefixes: int = 10
    indexed_users: int = 0
    shuffled_windows: int = 16384

    def __post_init__(self) -> None:
        _require(self.max_history >= 1, f"data.max_history is {self.max_history}; it must be at least 1")
        _require(self.shuffled_windows >= 1, f"data.shuffled_windows is {self.shuffled_windows}; it must be at least 1")
        for name in ("indexed_prefixes", "indexed_users"):
            value = getattr(self, name)
            _require(value >= 0, f"data.{name} is {value}; it must be >= 0")


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """The encoder of a history.

    Attributes:
      kind: "self_attention" (SASRec), "gru" (GRU4Rec), "mean_pooling" (YoutubeDNN), "capsules" (MIND,
        ComiRec-DR) or "multi_interest" (ComiRec-SA).
      dim: D, width of item embeddings and of tokens.
      num_blocks: Transformer blocks, or layers of the GRU or of the pooled network.
      num_heads: attention heads of "self_attention"; must divide dim.
      routing_iterations: of "capsules".
      dropout: rate on embeddings, attention and residual branches.
      event_dropout: share of a history's events that a training step does not see.
    """

    kind: Literal["self_attention", "gru", "mean_pooling", "capsules", "multi_interest"] = "self_attention"
    dim: int = 64
    num_blocks: int = 1
    num_heads: int = 2
    routing_iterations: int = 3
    dropout: float = 0.4
    event_dropout: float = 0.2

    def __post_init__(self) -> None:
        for name in ("dim", "num_blocks", "num_heads", "routing_iterations"):
            value = getattr(self, name)
            _require(value >= 1, f"tokenizer.{name} is {value}; it must be at least 1")
        _require(
            self.kind != "self_attention" or self.dim % self.num_heads == 0,
            f"tokenizer.num_heads {self.num_heads} does not divide tokenizer.dim {self.dim}",
        )
        for name in ("dropout", "event_dropout"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"tokenizer.{name} is {value}; it must be in [0, 1)")


@dataclasses.dataclass(frozen=True)
class QuantizerConfig:
    """The vector quantizer.

    Attributes:
      structure: "residual" (each query vector is quantised in levels, a token being what the tokens
        before it left over), "separate" (K_u independent tokens, each with codebooks of its own),
        "product" (K_u independent tokens that share M codebooks), or "none" (tokens stay as they are:
        the all-to-all model, which no index can serve).
      num_query_tokens: K_u.
      num_vectors: query vectors that the tokenizer gives to "residual", which quantises each in
        K_u / num_vectors levels; the other structures take K_u vectors.
      num_codebooks: M, each over D / M dimensions; must divide the token width. 1 for "residual".
      num_codewords: N of each codebook.
      gradient: "straight_through", "commit_only" (the paper to the letter) or "rotation".
      decay: of the exponential moving averages, a step.
      commit_weight: weight of the commitment loss.
      balance_weight: weight of a regulariser that spreads tokens over codes; 0 turns it off.
      size_discount: how much a codeword that stands for many tokens is put off when codes are
        assigned; 0 takes the nearest.
      revive_fraction: a codeword whose average count is below this fraction of the mean count is
        placed anew on a random token of the batch; 0 turns revival off.
      train_encoder: whether encoder and item vectors go on learning once there are codes. If not, only
        codebooks and the scorer's interactions do, and scores of unquantised tokens stay what they were.
      warmup_epochs: at most so many epochs are trained unquantised before k-means places the codewords;
        fewer if validation stops to gain.
    """

    structure: Literal["residual", "separate", "product", "none"] = "residual"
    num_query_tokens: int = 4
    num_vectors: int = 1
    num_codebooks: int = 1
    num_codewords: int = 256
    gradient: Literal["straight_through", "commit_only", "rotation"] = "straight_through"
    decay: float = 0.99
    commit_weight: float = 0.25
    balance_weight: float = 0.0
    size_discount: float = 0.0
    revive_fraction: float = 0.05
    train_encoder: bool = False
    warmup_epochs: int = 40

    def __post_init__(self) -> None:
        for name in ("num_query_tokens", "num_vectors", "num_codebooks", "num_codewords"):
            value = getattr(self, name)
            _require(value >= 1, f"quantizer.{name} is {value}; it must be at least 1")
        for name in ("commit_weight", "balance_weight", "size_discount", "revive_fraction", "warmup_epochs"):
            value = getattr(self, name)
            _require(value >= 0, f"quantizer.{name} is {value}; it must be >= 0")
        _require(
            self.structure != "residual" or self.num_codebooks == 1,
            f"quantizer.num_codebooks is {self.num_codebooks}, but structure {self.structure!r} has one codebook a"
            " token; set it to 1 or choose structure 'product' or 'separate'",
        )
        _require(
            self.structure != "residual" or self.num_query_tokens % self.num_vectors == 0,
            f"quantizer.num_vectors {self.num_vectors} does not divide quantizer.num_query_tokens"
            f" {self.num_query_tokens}: each vector is quantised in equally many levels",
        )
        _require(0 < self.decay < 1, f"quantizer.decay is {self.decay}; it must be in (0, 1)")
        _require(
            self.gradient != "commit_only" or self.commit_weight > 0,
            "quantizer.gradient 'commit_only' learns from the commitment loss alone; commit_weight must be > 0",
        )

    @property
    def num_levels(self) -> int:
        """Tokens made of each query vector: 1 but for "residual"."""
        return self.num_query_tokens // self.num_vectors if self.structure == "residual" else 1

    @property
    def num_input_vectors(self) -> int:
        """V, query vectors that the tokenizer must give."""
        return self.num_vectors if self.structure == "residual" else self.num_query_tokens

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
    """The scorer of a query token and an item: an inner product and an interaction.

    Attributes:
      kind: of the interaction: "hybrid" (an MLP over products of the token with the item's tokens),
        "dnn" (an MLP on the concatenation), "fm" (factorisation machine), "cross" (CrossNet, DCN-v2),
        "attention" (the token attends to the item's tokens), "mixture_of_logits", or "none".
      inner_product: whether the inner product is a part of the score. Without it the interaction is
        computed token by token in training, which is much slower.
      num_item_tokens: K_c.
      product_dim: width of what query and item tokens are projected to.
      hidden: units of hidden layers.
      num_layers: hidden layers of "dnn", cross layers of "cross".
      temperature: the inner product of unit vectors is divided by this.
      initial_bias: where b of relu(S + b) starts; positive, or the sums of ReLUs die.
    """

    kind: Literal["hybrid", "dnn", "fm", "cross", "attention", "mixture_of_logits", "none"] = "hybrid"
    inner_product: bool = True
    num_item_tokens: int = 4
    product_dim: int = 8
    hidden: int = 8
    num_layers: int = 2
    temperature: float = 0.05
    initial_bias: float = 20.0

    def __post_init__(self) -> None:
        for name in ("num_item_tokens", "product_dim", "hidden", "num_layers"):
            value = getattr(self, name)
            _require(value >= 1, f"scorer.{name} is {value}; it must be at least 1")
        _require(self.temperature > 0, f"scorer.temperature is {self.temperature}; it must be > 0")
        _require(
            self.inner_product or self.kind != "none",
            "scorer.inner_product is false and scorer.kind is 'none': nothing would be scored",
        )


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
    """The item memory: the last events of a history as query tokens with lists in closed form (trainer/memory.py).

    Attributes:
      num_events: H, events that are tokens; 0 turns the memory off.
      half_life: events after which an event counts half.
      horizon: following events that an event is to predict.
      horizon_decay: what each further one of them counts, relative to the one before it.
      l2: ridge penalty, above 0.
      list_length: most items of a list.
      max_items: only so many items, the most frequent ones, take part.
    """

    num_events: int = 16
    half_life: float = 5.0
    horizon: int = 5
    horizon_decay: float = 0.7
    l2: float = 200.0
    list_length: int = 500
    max_items: int = 16384

    def __post_init__(self) -> None:
        _require(self.num_events >= 0, f"memory.num_events is {self.num_events}; it must be >= 0")
        for name in ("horizon", "list_length", "max_items"):
            value = getattr(self, name)
            _require(value >= 1, f"memory.{name} is {value}; it must be at least 1")
        for name in ("half_life", "horizon_decay", "l2"):
            value = getattr(self, name)
            _require(value > 0, f"memory.{name} is {value}; it must be > 0")


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Softmax over the positive and negatives shared by the whole batch, or over the whole catalogue.

    Attributes:
      kind: "sampled_softmax", or "full_softmax" over every item of the catalogue.
      in_batch_negatives: drawn from the positives of the batch.
      uniform_negatives: drawn uniformly from the catalogue.
      popularity_negatives: drawn by the number of training events.
      log_q: whether negatives are corrected by the log of their sampling probability.
      num_hard_negatives: only so many negatives with the highest scores count for a query; 0 for all.
      sparsity_weight: weight of the mean contribution of (token, item) pairs, which trains scores
        towards zero so that pruning costs little.
    """

    kind: Literal["sampled_softmax", "full_softmax"] = "sampled_softmax"
    in_batch_negatives: int = 256
    uniform_negatives: int = 256
    popularity_negatives: int = 0
    log_q: bool = True
    num_hard_negatives: int = 0
    sparsity_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in (
            *("in_batch_negatives", "uniform_negatives", "popularity_negatives"),
            *("num_hard_negatives", "sparsity_weight"),
        ):
            value = getattr(self, name)
            _require(value >= 0, f"loss.{name} is {value}; it must be >= 0")
        _require(
            self.num_negatives >= 1 or self.kind == "full_softmax",
            "loss: in_batch_negatives, uniform_negatives and popularity_negatives are all 0; set one",
        )

    @property
    def num_negatives(self) -> int:
        """Negatives shared by the batch."""
        return self.in_batch_negatives + self.uniform_negatives + self.popularity_negatives


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """The training loop.

    Attributes:
      num_members: models trained one after the other from different seeds, whose tokens stand side by side
        and whose scores are added up (trainer/ensemble.py).
      epochs: at most so many.
      steps_per_epoch: steps after which an epoch ends, with its validation and checkpoint, though data goes on; 0 is
        a pass over the data.
      batch_events: events a step, counting the padding of windows that are a little shorter than others.
      learning_rate: of Adam, reached after warmup_steps.
      warmup_steps: steps of linear warm-up.
      weight_decay: decoupled (AdamW); 0 turns it off.
      patience: validations without a better NDCG@50 before training stops early, or its first phase ends.
      validate_every: epochs between validations.
      validation_users: at most so many users are ranked at each validation.
      checkpoint_every: epochs between checkpoints a killed run resumes from.
      checkpoint_steps: steps between further ones within epochs; 0 for none.
      warm_start: job directory of an earlier run whose weights to start from, or of a two-tower run.
      mixed_precision: "float16" (GPUs) or "bfloat16" (newer ones): the encoder of "self_attention" computes in
        16 bits while it trains. Variables, codes, scores and loss keep 32, and so does all of what is exported.
      seed: of weights, order, dropout and negatives; member i takes seed + 1000 i.
      deterministic: bit-equal results from equal seeds (slower).
    """

    num_members: int = 1
    epochs: int = 80
    steps_per_epoch: int = 0
    batch_events: int = 800
    learning_rate: float = 0.003
    warmup_steps: int = 100
    weight_decay: float = 0.0
    patience: int = 3
    validate_every: int = 2
    validation_users: int = 5000
    checkpoint_every: int = 1
    checkpoint_steps: int = 0
    warm_start: str = ""
    mixed_precision: Literal["none", "float16", "bfloat16"] = "none"
    seed: int = 0
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name in (
            *("num_members", "epochs", "batch_events", "patience"),
            *("validate_every", "validation_users", "checkpoint_every"),
        ):
            value = getattr(self, name)
            _require(value >= 1, f"training.{name} is {value}; it must be at least 1")
        _require(self.steps_per_epoch >= 0, f"training.steps_per_epoch is {self.steps_per_epoch}; it must be >= 0")
        _require(self.checkpoint_steps >= 0, f"training.checkpoint_steps is {self.checkpoint_steps}; it must be >= 0")
        _require(0 <= self.seed < 2**31, f"training.seed is {self.seed}; it must be in [0, 2,147,483,648)")
        _require(self.learning_rate > 0, f"training.learning_rate is {self.learning_rate}; it must be > 0")


@dataclasses.dataclass(frozen=True)
class FeatureConfig:
    """A column of the data that the model sees.

    Attributes:
      name: of the column.
      kind: "category" (one value a row), "multi_category" (a list of values), "number", "text" (hashed
        words and character n-grams) or "vector" (an embedding made elsewhere).
      min_count: of categories: rarer values are taken as unknown.
      bins: of numbers: quantiles with an embedding each; 0 takes the standardised number itself.
      hash_buckets: of texts: embeddings that their words and n-grams share.
      ngrams: of texts: characters of an n-gram; 0 takes whole words only.
    """

    name: str
    kind: Literal["category", "multi_category", "number", "text", "vector"]
    min_count: int = 1
    bins: int = 0
    hash_buckets: int = 4096
    ngrams: int = 3

    def __post_init__(self) -> None:
        for name, least in (("min_count", 1), ("bins", 0), ("hash_buckets", 1), ("ngrams", 0)):
            value = getattr(self, name)
            _require(value >= least, f"feature {self.name!r}: {name} is {value}; it must be at least {least}")


@dataclasses.dataclass(frozen=True)
class FeaturesConfig:
    """What the model sees beside ids; nothing by default.

    Attributes:
      items: of each item; an item is represented by them as well as by its id.
      events: of each event of a history, such as its rating or hour; the event that is predicted is not seen.
      users: of who asks, added to every event of the history.
      id_dropout: share of the items whose ids are hidden in a training step, so that features learn to
        stand alone, as they must for an item without training events.
      from_data: whether each of items, events and users that is empty here takes the features which the data itself
        declares, as a schema file does (trainer/data/schema).
    """

    items: tuple[FeatureConfig, ...] = ()
    events: tuple[FeatureConfig, ...] = ()
    users: tuple[FeatureConfig, ...] = ()
    id_dropout: float = 0.0
    from_data: bool = True

    def __post_init__(self) -> None:
        for where, declared in (("features.items", self.items), ("features.events and users", self.context)):
            names = [feature.name for feature in declared]
            _require(len(set(names)) == len(names), f"{where} name a column twice: {', '.join(names)}")
        for feature in self.context:
            _require(
                feature.name.isidentifier() and not keyword.iskeyword(feature.name),
                f"feature {feature.name!r} of events or users cannot name an input of a query: rename the column to"
                " letters, digits and underscores, and no word of Python's",
            )
            _require(
                feature.name not in RESERVED_NAMES,
                f"feature {feature.name!r} of events or users cannot name an input of a query, which has another of"
                f" that name: rename the column to none of {', '.join(RESERVED_NAMES)}",
            )
        _require(0 <= self.id_dropout < 1, f"features.id_dropout is {self.id_dropout}; it must be in [0, 1)")
        if not self.from_data:
            self._require_items()

    @property
    def context(self) -> tuple[FeatureConfig, ...]:
        """Those that a query brings with its history."""
        return self.events + self.users

    def filled(self, declared: FeaturesConfig) -> FeaturesConfig:
        """These features, where a place names none those that are declared for it (`from_data`).

        Raises:
          UserError: ids are to be dropped, but items have no features.
        """
        places = {place: getattr(self, place) or getattr(declared, place) for place in ("items", "events", "users")}
        filled = dataclasses.replace(self, **places) if self.from_data else self
        filled._require_items()
        return filled

    def _require_items(self) -> None:
        _require(
            not self.id_dropout or bool(self.items),
            f"features.id_dropout is {self.id_dropout}, but features.items is empty: an item would be nothing",
        )


@dataclasses.dataclass(frozen=True)
class Config:
    """All that a training run is made from; one section each."""

    data: DataConfig = DataConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    scorer: ScorerConfig = ScorerConfig()
    memory: MemoryConfig = MemoryConfig()
    features: FeaturesConfig = FeaturesConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()

    def __post_init__(self) -> None:
        dim, parts = self.tokenizer.dim, self.quantizer.num_codebooks
        _require(
            dim % parts == 0,
            f"quantizer.num_codebooks {parts} (M) does not divide tokenizer.dim {dim} (D): a token is split into M"
            " equal parts",
        )

        _require(
            self.training.mixed_precision == "none" or self.tokenizer.kind == "self_attention",
            f"training.mixed_precision is {self.training.mixed_precision!r}, which tokenizer.kind"
            f" {self.tokenizer.kind!r} has no part for; only 'self_attention' computes in 16 bits",
        )

    @property
    def num_events(self) -> int:
        """H, events of a history that are query tokens of their own."""
        return min(self.memory.num_events, self.data.max_history)

    def to_yaml(self) -> str:
        """The whole configuration, every default written out."""
        return yaml.safe_dump(dataclasses.asdict(self), sort_keys=False)

    def flat(self) -> dict[str, Any]:
        """`section.field` to value, as JSON reads it again."""
        sections = json.loads(json.dumps(dataclasses.asdict(self)))
        return {f"{section}.{field}": value for section, fields in sections.items() for field, value in fields.items()}


def from_mapping(values: Mapping[str, Any], place: str) -> Config:
    """Builds a Config from nested mappings such as a YAML file holds.

    Args:
      values: section -> field -> value; what is absent keeps its default.
      place: what to call the source in an error.

    Raises:
      UserError: an unknown section or field, a value of the wrong type, or sizes that disagree.
    """
    sections = typing.get_type_hints(Config)
    made = {}
    for section, fields in values.items():
        known(section, sections, f"{place}: section")
        if not isinstance(fields, Mapping):
            raise UserError(f"{place}: section {section!r} holds {fields!r}; expected fields with values")
        made[section] = built(sections[section], fields, section, place)
    return Config(**made)


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
    values = read_yaml(path) or {}
    if not isinstance(values, Mapping):
        raise UserError(f"{path}: holds {type(values).__name__}; expected sections with fields")
    merged = {section: dict(fields) if isinstance(fields, Mapping) else fields for section, fields in values.items()}
    for section, fields in (overrides or {}).items():
        merged[section] = {**(merged.get(section) or {}), **fields}
    return from_mapping(merged, f"{preset_or_file}{' and the flags over it' if overrides else ''}")


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
        texts = field_texts(type(current))
        for field in dataclasses.fields(current):
            text = f"{texts.get(field.name, '')} (default: {getattr(current, field.name)})"
            group.add_argument(
                f"--{section.name}.{field.name}", type=value_of, metavar="VALUE", help=text.replace("%", "%%")
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
