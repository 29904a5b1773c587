"""Exports that the tests of this room build indexes of."""

import os
import pathlib

import pytest
import tensorflow as tf

from tests.support.exports import PRODUCT, TinySpec, write_tiny_export

# Builds ask for one thread an op. The first op of the process fixes the number: tests of another room may come first.
os.environ["TF_NUM_INTRAOP_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _tensorflow_started() -> None:
    """So that no test finds TensorFlow still open to another number."""
    tf.zeros(1)


@pytest.fixture(scope="session")
def residual_export(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """40 items, 12 codes, ready lists of three items in four."""
    return write_tiny_export(tmp_path_factory.mktemp("residual") / "export")


@pytest.fixture(scope="session")
def product_export(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """40 items, 16 codes of two codebooks, and ready lists."""
    return write_tiny_export(tmp_path_factory.mktemp("product") / "export", PRODUCT)


@pytest.fixture(scope="session")
def wide_export(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Three tiles, the last of 309 items, and two chunks of codes, the last of 64; thousands of ready lists."""
    spec = TinySpec(num_items=8501, num_query_tokens=2, num_codewords=160, dim=16, bias=0.5)
    return write_tiny_export(tmp_path_factory.mktemp("wide") / "export", spec)
