"""docs/formulas.md: every formula stands in the docstring of the code that it is said to be of."""

import importlib
import inspect
import re

import pytest

from tests.docs.blocks import ROOT

_PAGE = (ROOT / "docs" / "formulas.md").read_text()
_FORMULAS = re.findall(r"^```\n(.*?)^```\n+`([\w.]+)`", _PAGE, re.DOTALL | re.MULTILINE)
_NAMES = sorted(set(re.findall(r"`((?:trainer|beam_index|serving|protos)\.[\w.]+)`", _PAGE)))


def _found(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(module), attribute)


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize(("formula", "name"), _FORMULAS, ids=[name for _, name in _FORMULAS])
def test_a_formula_is_that_of_the_code(formula, name):
    described = _squeezed(inspect.getdoc(_found(name)))
    for line in formula.splitlines():
        assert _squeezed(line).strip() in described


def test_every_formula_names_its_code():
    assert len(_FORMULAS) == len(re.findall(r"^```\n.*?^```$", _PAGE, re.DOTALL | re.MULTILINE)) > 20


@pytest.mark.parametrize("name", _NAMES)
def test_code_that_is_named_is_there(name):
    assert _found(name) is not None


def test_tests_that_are_named_are_there():
    named = re.findall(r"`(tests/[\w/]+\.py)`", _PAGE)
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).is_file()] == []
