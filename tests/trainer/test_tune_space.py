"""The space of a search: what may stand in it, and what it makes of a configuration."""

from __future__ import annotations

import itertools

import pytest

from protos.errors import UserError
from trainer.config import Config, from_mapping
from trainer.tune.space import SPACES, read_space

WRONG = {
    "tokenizer.drop: {low: 0.1, high: 0.5}": r"field of section 'tokenizer' 'drop' is unknown; did you mean 'dropout'",
    "tokeniser.dim: {low: 1, high: 2}": r"section 'tokeniser' is unknown; did you mean 'tokenizer'",
    "tokenizer: {low: 1, high: 2}": r"'tokenizer' is no field; expected SECTION.FIELD, as in tokenizer.dropout",
    "training.learning_rate: {low: 0.1, high: .inf}": r"learning_rate: high is inf; expected a number that is finite",
    "training.learning_rate: {low: 0.1, high: 0.2, step: .nan}": r"learning_rate: step is nan; expected a number",
    "tokenizer.dim: {low: 1, high: 2}\ntokenizer.dim: {low: 3, high: 4}": r"line 2, column 1: 'tokenizer.dim' is",
    "tokenizer.dim: 64": r"tokenizer.dim is 64; expected \{low: \.\., high: \.\.\} or \{choices: \[\.\.\]\}",
    "tokenizer.dim: {low: 8}": r"tokenizer.dim has no 'high'",
    "tokenizer.dim: {low: 8, hihg: 9}": r"tokenizer.dim: 'hihg' is unknown; did you mean 'high'",
    "tokenizer.dim: {low: 8, high: 64.5}": r"tokenizer.dim: high is 64.5; expected int",
    "tokenizer.dim: {low: 64, high: 8}": r"low is 64 and high 8; expected low below high",
    "tokenizer.dim: {low: 8, high: 64, step: 9}": r"steps of 9 lead from low 8 past high 64",
    "tokenizer.dim: {low: 8, high: 64, step: 8, log: true}": r"step is 8 and log is true; leave one out",
    "tokenizer.dropout: {low: 0, high: 0.5, log: true}": r"log is true and low 0.0; expected low above 0",
    "tokenizer.dropout: {low: 0.5, high: 1.5}": r"tokenizer.dropout may be 1.5, which is refused: .*be in \[0, 1\)",
    "tokenizer.dropout: {low: a, high: 1}": r"tokenizer.dropout: low is 'a'; expected float",
    "tokenizer.kind: {low: 1, high: 2}": r"tokenizer.kind is no number; give its values",
    "tokenizer.kind: {choices: [gru, lstm]}": r"choices\[1\] is 'lstm'; choose one of",
    "tokenizer.dim: {choices: [8]}": r"expected a list of two values or more",
    "tokenizer.dim: {choices: [8, 8]}": r"choices name 8 twice",
    "tokenizer.dim: {choices: [8, 16], low: 8}": r"has choices and low; leave one out",
    "tokenizer.num_heads: {choices: [2, 5]}": r"tokenizer.num_heads may be 5, .*does not divide tokenizer.dim 64",
    "features.items: {choices: [a, b]}": r"features.items cannot be searched: it holds more than one value",
    "data.split: {choices: [chronological, leave_last_out]}": r"decides on which events a trial is judged",
    "training.seed: {low: 0, high: 9}": r"its best value is luck",
    "[1, 2]": r"holds list; expected fields",
    "": r"holds NoneType; expected fields",
    "a: {": r"not valid YAML",
}


def space(tmp_path, text: str, base: Config | None = None):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return read_space(path, base or Config())


@pytest.mark.parametrize("text", WRONG)
def test_what_cannot_be_searched_is_named(text, tmp_path):
    with pytest.raises(UserError, match=WRONG[text]):
        space(tmp_path, text)


def test_powers_of_ten_are_numbers_however_they_are_written(tmp_path):
    found = space(tmp_path, "training.learning_rate: {low: 1e-4, high: 1E-2, log: true}").fields
    assert (found["training.learning_rate"].low, found["training.learning_rate"].high) == (0.0001, 0.01)


def test_a_space_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--space .*none.yaml: no such file"):
        read_space(tmp_path / "none.yaml", Config())


def test_a_value_that_only_another_choice_accepts_is_fine(tmp_path):
    found = space(
        tmp_path,
        "tokenizer.num_heads: {choices: [2, 3]}\ntokenizer.dim: {choices: [64, 96]}\n",
        from_mapping({}, "test"),
    )
    accepted = set()
    for heads, dim in itertools.product((2, 3), (64, 96)):
        try:
            config = found.config(Config(), {"tokenizer.num_heads": heads, "tokenizer.dim": dim})
        except UserError:
            continue
        assert (config.tokenizer.num_heads, config.tokenizer.dim) == (heads, dim)
        assert config.loss == Config().loss
        accepted.add((heads, dim))
    assert accepted == {(2, 64), (2, 96), (3, 96)}


def test_whether_a_configuration_is_in_a_space(tmp_path):
    found = space(tmp_path, "tokenizer.dropout: {low: 0.1, high: 0.3}\nscorer.kind: {choices: [dnn, fm]}\n")
    inside = from_mapping({"tokenizer": {"dropout": 0.3}, "scorer": {"kind": "fm"}}, "test")
    assert found.point(inside) == {"tokenizer.dropout": 0.3, "scorer.kind": "fm"}
    assert found.config(inside, found.point(inside)) == inside
    assert found.point(from_mapping({"scorer": {"kind": "fm"}}, "test")) is None  # dropout 0.4
    assert found.point(from_mapping({"tokenizer": {"dropout": 0.3}}, "test")) is None  # hybrid


@pytest.mark.parametrize("name", ["sparcode", "baseline"])
def test_the_spaces_of_the_package_hold_the_default_configuration(name):
    found = read_space(SPACES / f"{name}.yaml", Config())
    assert found.point(Config()) is not None
