"""Where codewords start."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.codebooks import start_codebooks
from trainer.config import QuantizerConfig
from trainer.layers.quantizer import VectorQuantizer

CONFIGS = [
    QuantizerConfig("residual", num_query_tokens=2, num_codewords=8),
    QuantizerConfig("residual", num_query_tokens=6, num_vectors=2, num_codewords=8),
    QuantizerConfig("separate", num_query_tokens=2, num_codebooks=2, num_codewords=8),
    QuantizerConfig("product", num_query_tokens=2, num_codebooks=2, num_codewords=8),
]
ALL = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.structure}_{config.num_input_vectors}")
DIM = 4


def tokens_for(config: QuantizerConfig, count: int, seed: int = 1) -> np.ndarray:
    shape = (count, config.num_input_vectors, DIM)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@ALL
def test_shapes_and_shares(config):
    books, shares = start_codebooks(tokens_for(config, 200), config, seed=0)
    layer = VectorQuantizer(config, DIM)
    assert books.shape == tuple(layer.codebooks.shape)
    assert shares.shape == tuple(layer.counts.shape)
    assert books.dtype == shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(-1), 1.0, rtol=1e-5)
    assert (shares > 0).all()


@ALL
def test_the_same_seed_starts_the_same_and_another_does_not(config):
    tokens = tokens_for(config, 100)
    first, again, other = (start_codebooks(tokens, config, seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@ALL
@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_errors_fall_with_every_level_and_shares_are_those_of_the_codes(config, seed):
    """Centres are means of cells, so no level leaves more than it was given, and tokens far less than they were."""
    tokens = tokens_for(config, 100, seed)
    books, shares = start_codebooks(tokens, config, seed)
    layer = VectorQuantizer(config, DIM)
    layer.activate(books, shares)
    quantized = layer(tf.constant(tokens))
    words = quantized.codewords.numpy().reshape(100, config.num_input_vectors, config.num_levels, DIM)
    energy = (tokens.astype(np.float64) ** 2).sum((0, 2))
    for level in range(config.num_levels):
        left = ((tokens - words[:, :, : level + 1].sum(2)) ** 2).sum((0, 2))
        assert (left <= energy * (1 + 1e-5)).all()
        energy = left
    assert energy.sum() < 0.8 * (tokens**2).sum()
    codes = quantized.codes.numpy()
    for slot, m in np.ndindex(*shares.shape[:2]):
        own = codes[:, :, m] if config.structure == "product" else codes[:, slot, m]
        counts = np.maximum(np.bincount(own.ravel(), minlength=config.num_codewords), 0.5)
        np.testing.assert_allclose(shares[slot, m], counts / counts.sum(), rtol=1e-5)


def test_codewords_are_the_clusters_of_their_own_slot():
    """Two tight clusters a slot, elsewhere in each: the codewords are their centres."""
    config = QuantizerConfig("separate", num_query_tokens=2, num_codewords=2)
    centres = np.array([[[5, 0, 0, 0], [-5, 0, 0, 0]], [[0, 9, 0, 0], [0, 0, 9, 0]]], np.float32)
    picks = np.random.default_rng(0).integers(0, 2, (60, 2))
    tokens = np.stack([centres[slot, picks[:, slot]] for slot in range(2)], 1)
    books, shares = start_codebooks(tokens, config, seed=0)
    for slot in range(2):
        for centre in range(2):
            found = np.isclose(books[slot, 0], centres[slot, centre], atol=1e-3).all(-1)
            assert found.sum() == 1
            np.testing.assert_allclose(shares[slot, 0][found], (picks[:, slot] == centre).mean(), rtol=1e-5)


@ALL
@pytest.mark.parametrize("count", [1, 3])
def test_fewer_tokens_than_codewords(config, count):
    books, shares = start_codebooks(tokens_for(config, count), config, seed=0)
    assert np.isfinite(books).all()
    assert (shares > 0).all()


def test_what_cannot_start_is_named():
    config = CONFIGS[1]
    for shape in [(5, DIM), (5, 3, DIM), (0, 2, DIM)]:
        with pytest.raises(ValueError, match=r"tokens \(.*\) given; expected \(at least 1, 2, D\)"):
            start_codebooks(np.zeros(shape, np.float32), config, seed=0)
    with pytest.raises(ValueError, match="'none' has no codewords"):
        start_codebooks(np.zeros((5, 4, DIM), np.float32), QuantizerConfig("none"), seed=0)
