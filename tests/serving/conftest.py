"""Servables that the tests of what they answer share."""

from __future__ import annotations

import functools

import pytest

from serving.export import ExportOptions, export
from serving.shards import Shard
from tests.serving.worlds import EVERYTHING, SPECS, UNPRUNED, World
from tests.support.contract_model import ContractModel, FeatureModel, write_contract_model
from tests.support.exports import write_tiny_export
from tests.support.indexes import write_tiny_index

WHOLE = Shard()


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Makes worlds, each only once."""
    root = tmp_path_factory.mktemp("worlds")

    @functools.cache
    def sources(quantizer, index_spec):
        directory = root / f"{quantizer}-{index_spec.postings_per_code}"
        model = write_tiny_export(directory / "model", SPECS[quantizer])
        return model, write_tiny_index(directory / "index", model, index_spec)

    @functools.cache
    def make(quantizer="residual", index_spec=UNPRUNED, sums="sparse", answers=EVERYTHING, shard=WHOLE):
        model, index = sources(quantizer, index_spec)
        output = tmp_path_factory.mktemp("servable") / "1"
        export(ExportOptions(model, index, output, sums, answers, shard=shard))
        return World(SPECS[quantizer], model, index, output)

    return make


@pytest.fixture(scope="session")
def contract_models(tmp_path_factory):
    """Model bases, each with version 1 of a model whose answers are easy to foresee, by its class."""
    bases = {kind: tmp_path_factory.mktemp(kind.__name__) for kind in (ContractModel, FeatureModel)}
    for kind, base in bases.items():
        write_contract_model(base / "1", kind)
    return bases
