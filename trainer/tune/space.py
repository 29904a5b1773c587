"""The space that is searched: fields of the configuration with the values they may take."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import random
import typing
from collections.abc import Mapping
from typing import Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from protos.errors import UserError
from trainer.config import PRESETS, Config, from_mapping
from trainer.mappings import known, typed
from trainer.yaml_text import read_yaml

SPACES = PRESETS / "spaces"
# What would change the yardstick, and not the model: scores of such trials cannot be compared.
_NOT_SEARCHED = {
    "data.split": "it decides on which events a trial is judged",
    "training.validation_users": "it decides on which users a trial is judged",
    "training.seed": "its best value is luck; --seeds trains the best few with several",
}
_SCALARS = (bool, int, float, str)
_RANGE = ("low", "high", "log", "step")
_EXAMPLE = "tokenizer.dropout: {low: 0.1, high: 0.5}"
_TRIES = 200  # of combinations, to find one that a value stands in


@dataclasses.dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
      fields: `section.field` to the values it may take.
    """

    fields: Mapping[str, BaseDistribution]

    def config(self, base: Config, values: Mapping[str, Any]) -> Config:
        """The configuration of a point of the space.

        Raises:
          UserError: values that are fine by themselves do not go together.
        """
        sections = dataclasses.asdict(base)
        for name, value in values.items():
            section, field = name.split(".")
            sections[section][field] = value
        return from_mapping(sections, "search")

    def point(self, config: Config) -> dict[str, Any] | None:
        """Where a configuration is in the space; None if it is not in it."""
        values = {name: _value(config, name) for name in self.fields}
        return values if all(_holds(self.fields[name], value) for name, value in values.items()) else None

    def as_json(self) -> dict[str, Any]:
        """To tell whether two are the same."""
        return {name: {"kind": type(of).__name__, **_plain(of)} for name, of in sorted(self.fields.items())}


def read_space(path: pathlib.Path, base: Config) -> Space:
    """Reads a space: YAML, `section.field: {low, high, log, step}` or `section.field: {choices: [...]}`.

    Args:
      path: of the file.
      base: the configuration that keeps all other fields.

    Raises:
      UserError: no such file, no valid YAML, an unknown field, a value of another type than the field's, or one
        that the configuration refuses; the message names the field.
    """
    if not path.is_file():
        raise UserError(f"--space {path}: no such file; expected YAML with lines as in {_EXAMPLE}")
    written = read_yaml(path)
    if not isinstance(written, Mapping) or not written:
        raise UserError(f"{path}: holds {type(written).__name__}; expected fields, as in {_EXAMPLE}")
    space = Space({str(name): _distribution(str(name), values, str(path)) for name, values in written.items()})
    _require_accepted(space, base, str(path))
    return space


def _distribution(name: str, written: Any, place: str) -> BaseDistribution:
    kind, at = _kind(name, place), name
    if not isinstance(written, Mapping):
        raise UserError(f"{place}: {at} is {written!r}; expected {{low: .., high: ..}} or {{choices: [..]}}")
    if "choices" in written:
        return _choices(written, kind, place, at)
    for key in written:
        known(key, dict.fromkeys((*_RANGE, "choices")), f"{place}: {at}:")
    if kind not in (int, float):
        raise UserError(f"{place}: {at} is no number; give its values: {{choices: [..]}}")
    if missing := [key for key in ("low", "high") if key not in written]:
        raise UserError(f"{place}: {at} has no {missing[0]!r}; expected {{low: .., high: ..}} or {{choices: [..]}}")
    log = typed(written.get("log", False), bool, place, f"{at}: log")
    ends = {key: typed(written[key], kind, place, f"{at}: {key}") for key in ("low", "high", "step") if key in written}
    return _range(kind, ends, log, f"{place}: {at}")


def _range(kind: type, ends: dict[str, Any], log: bool, at: str) -> BaseDistribution:
    low, high, step = ends["low"], ends["high"], ends.get("step")
    for key, value in ends.items():
        if not math.isfinite(value):
            raise UserError(f"{at}: {key} is {value}; expected a number that is finite")
    if low >= high:
        raise UserError(f"{at}: low is {low} and high {high}; expected low below high")
    if step is not None and (log or step <= 0):
        raise UserError(f"{at}: step is {step}" + (" and log is true; leave one out" if log else "; expected above 0"))
    if step is not None and abs((high - low) / step - round((high - low) / step)) > 1e-9:
        raise UserError(f"{at}: steps of {step} lead from low {low} past high {high}; choose a high that they meet")
    if log and low <= 0:
        raise UserError(f"{at}: log is true and low {low}; expected low above 0")
    if kind is float:
        return FloatDistribution(low, high, log=log, step=step)
    return IntDistribution(low, high, log=log, step=step or 1)


def _choices(written: Mapping[str, Any], kind: Any, place: str, at: str) -> BaseDistribution:
    if others := [key for key in written if key != "choices"]:
        raise UserError(f"{place}: {at} has choices and {others[0]}; leave one out")
    values = written["choices"]
    if not isinstance(values, list) or len(values) < 2:
        raise UserError(f"{place}: {at}: choices is {values!r}; expected a list of two values or more")
    values = [typed(value, kind, place, f"{at}: choices[{number}]") for number, value in enumerate(values)]
    if repeated := [value for value in values if values.count(value) > 1]:
        raise UserError(f"{place}: {at}: choices name {repeated[0]!r} twice")
    return CategoricalDistribution(values)


def _kind(name: str, place: str) -> Any:
    """The type of a field that can be searched."""
    section, dot, field = name.partition(".")
    if not dot:
        raise UserError(f"{place}: {name!r} is no field; expected SECTION.FIELD, as in {_EXAMPLE}")
    sections = typing.get_type_hints(Config)
    known(section, sections, f"{place}: section")
    fields = typing.get_type_hints(sections[section])
    known(field, fields, f"{place}: field of section {section!r}")
    if name in _NOT_SEARCHED:
        raise UserError(f"{place}: {name} cannot be searched: {_NOT_SEARCHED[name]}")
    kind = fields[field]
    if kind not in _SCALARS and typing.get_origin(kind) is not Literal:
        raise UserError(f"{place}: {name} cannot be searched: it holds more than one value; set it in --config")
    return kind


def _require_accepted(space: Space, base: Config, place: str) -> None:
    """Refuses a value that no combination takes: it is tried with the base's others, then with others of the space."""
    draw = random.Random(0)
    values = {name: _representatives(of) for name, of in space.fields.items()}
    for name, some in values.items():
        for value in some:
            others = ({other: draw.choice(values[other]) for other in values} for _ in range(_TRIES))
            first = refusal = _refusal(space, base, {name: value})
            while refusal and (other := next(others, None)):
                refusal = _refusal(space, base, {**other, name: value})
            if refusal:
                raise UserError(f"{place}: {name} may be {value!r}, which is refused: {first}")


def _refusal(space: Space, base: Config, values: Mapping[str, Any]) -> str:
    try:
        space.config(base, values)
    except UserError as error:
        return str(error)
    return ""


def _representatives(of: BaseDistribution) -> list[Any]:
    return list(of.choices) if isinstance(of, CategoricalDistribution) else [of.low, of.high]


def _value(config: Config, name: str) -> Any:
    section, field = name.split(".")
    return getattr(getattr(config, section), field)


def _holds(of: BaseDistribution, value: Any) -> bool:
    return value in of.choices if isinstance(of, CategoricalDistribution) else of.low <= value <= of.high


def _plain(of: BaseDistribution) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in of._asdict().items()}
