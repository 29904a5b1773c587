"""I5, I6, I7 for the quantizer, and its gradients."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.codes import CodeSpace
from trainer.config import QuantizerConfig
from trainer.layers.quantizer import VectorQuantizer

CONFIGS = [
    QuantizerConfig("residual", num_query_tokens=3, num_codebooks=1, num_codewords=5, revive_fraction=0.0),
    QuantizerConfig("product", num_query_tokens=3, num_codebooks=2, num_codewords=5, revive_fraction=0.0),
]
BOTH = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.structure)
DIM = 4


def make(config: QuantizerConfig, seed: int = 0) -> VectorQuantizer:
    layer = VectorQuantizer(config, DIM, seed=seed)
    rng = np.random.default_rng(seed)
    shape = tuple(layer.codebooks.shape)
    layer.activate(rng.normal(size=shape).astype(np.float32), rng.uniform(0.5, 2, shape[:3]).astype(np.float32))
    return layer


def queries_for(config: QuantizerConfig, count: int, seed: int = 1) -> np.ndarray:
    shape = (count, DIM) if config.structure == "residual" else (count, config.num_query_tokens, DIM)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def oracle(layer: VectorQuantizer, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, codes and codewords, one part at a time."""
    config, books = layer.config, layer.codebooks.numpy()
    part = DIM // config.num_codebooks
    all_tokens, all_codes, all_words = [], [], []
    for query in queries:
        left, tokens, codes, words = query.copy(), [], [], []
        for position in range(config.num_query_tokens):
            token = left.copy() if config.structure == "residual" else query[position]
            slot = position if config.structure == "residual" else 0
            code, word = [], []
            for m in range(config.num_codebooks):
                piece = token[m * part : (m + 1) * part]
                distances = [float(((piece - codeword) ** 2).sum()) for codeword in books[slot, m]]
                code.append(int(np.argmin(distances)))
                word.extend(books[slot, m, code[-1]])
            left = left - np.array(word)
            tokens.append(token), codes.append(code), words.append(word)
        all_tokens.append(tokens), all_codes.append(codes), all_words.append(words)
    return np.array(all_tokens), np.array(all_codes), np.array(all_words)


@BOTH
@given(seed=st.integers(0, 10_000), count=st.integers(0, 7))
@settings(max_examples=25, deadline=None)
def test_nearest_codeword_equals_oracle(config, seed, count):
    layer = make(config, seed)
    queries = queries_for(config, count, seed + 1)
    quantized = layer(tf.constant(queries))
    if count == 0:
        assert quantized.codes.shape == (0, config.num_query_tokens, config.num_codebooks)
        return
    tokens, codes, codewords = oracle(layer, queries)
    np.testing.assert_array_equal(quantized.codes, codes)
    np.testing.assert_allclose(quantized.tokens, tokens, atol=1e-5)
    np.testing.assert_allclose(quantized.output, codewords, atol=1e-5)


def test_worked_example_of_the_paper():
    config = QuantizerConfig("product", num_query_tokens=1, num_codebooks=2, num_codewords=3)
    layer = VectorQuantizer(config, 6)
    books = np.array(
        [[[0.3, 0.2, 0.6], [0.2, 0.5, 0.7], [0.1, 0.4, 0.8]], [[0.1, 0.5, 0.8], [0.3, 0.6, 0.4], [0.2, 0.4, 0.7]]],
        np.float32,
    )[None]
    layer.activate(books, np.ones((1, 2, 3), np.float32))
    first = books[0, 0, 0] + np.array([0.1, 0.1, -0.1], np.float32)
    quantized = layer(tf.constant([[[*first, 0.4, 0.1, 0.7]]]))
    assert quantized.codes.numpy().tolist() == [[[0, 2]]]  # (1, 3) counted from one
    np.testing.assert_allclose(quantized.distances[0, 0, 1], [0.26, 0.35, 0.13], atol=1e-6)


@BOTH
def test_keys_follow_the_code_space(config):
    layer = make(config)
    quantized = layer(tf.constant(queries_for(config, 6)))
    space = CodeSpace(config.num_slots, config.num_codebooks, config.num_codewords)
    slots = np.arange(config.num_query_tokens) % config.num_slots
    np.testing.assert_array_equal(quantized.keys, space.key(slots, quantized.codes.numpy()))
    words, found = layer.codewords_of(tf.reshape(quantized.keys, [-1]))
    np.testing.assert_array_equal(words, tf.reshape(quantized.codewords, [-1, DIM]))
    np.testing.assert_array_equal(found, np.tile(slots, 6))


@BOTH
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_moving_averages_equal_the_formula(config, seed):
    layer = make(config, seed)
    queries = queries_for(config, 9, seed + 1)
    valid = np.random.default_rng(seed).random(9) < 0.7
    counts, sums = layer.counts.numpy().astype(np.float64), layer.sums.numpy().astype(np.float64)
    tokens, codes, _ = oracle(layer, queries)
    part = DIM // config.num_codebooks
    new_counts, new_sums = np.zeros_like(counts), np.zeros_like(sums)
    for p in np.flatnonzero(valid):
        for i in range(config.num_query_tokens):
            for m in range(config.num_codebooks):
                place = (i % config.num_slots, m, codes[p, i, m])
                new_counts[place] += 1
                new_sums[place] += tokens[p, i, m * part : (m + 1) * part]
    counts = config.decay * counts + (1 - config.decay) * new_counts
    sums = config.decay * sums + (1 - config.decay) * new_sums
    layer.update(layer(tf.constant(queries)), tf.constant(valid), tf.constant(0, tf.int64))
    np.testing.assert_allclose(layer.counts, counts, rtol=1e-5)
    np.testing.assert_allclose(layer.sums, sums, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.codebooks, sums / counts[..., None], rtol=1e-4, atol=1e-5)


@BOTH
def test_calling_changes_no_state(config):
    layer = make(config)
    before = [variable.numpy() for variable in layer.variables]
    layer(tf.constant(queries_for(config, 5)))
    for old, variable in zip(before, layer.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


@BOTH
def test_before_activation_nothing_is_quantised_or_learned(config):
    layer = VectorQuantizer(config, DIM)
    queries = tf.constant(queries_for(config, 5))
    quantized = layer(queries)
    before = layer.codebooks.numpy()
    layer.update(quantized, tf.fill([5], True), tf.constant(0, tf.int64))
    np.testing.assert_array_equal(layer.codebooks, before)
    np.testing.assert_array_equal(layer.commitment(quantized), np.zeros(5))
    np.testing.assert_allclose(tf.reduce_sum(quantized.output, 1), tf.reduce_sum(tf.reshape(queries, [5, -1, DIM]), 1))


@BOTH
def test_straight_through_passes_the_gradient_and_commit_only_does_not(config):
    import dataclasses

    queries = tf.constant(queries_for(config, 3))
    for gradient, expected in (("straight_through", True), ("commit_only", False)):
        layer = make(dataclasses.replace(config, gradient=gradient))
        with tf.GradientTape() as tape:
            tape.watch(queries)
            total = tf.reduce_sum(layer(queries).output * 2.0)
        found = tape.gradient(total, queries)
        assert (found is not None and bool(tf.reduce_any(found != 0))) == expected


def test_dead_codewords_come_back_on_valid_tokens():
    config = QuantizerConfig("residual", num_query_tokens=2, num_codewords=4, revive_fraction=0.6, decay=0.5)
    layer = VectorQuantizer(config, DIM)
    far = np.full(tuple(layer.codebooks.shape), 100.0, np.float32)
    far[:, :, 0] = 0.0
    layer.activate(far, np.ones((2, 1, 4), np.float32))
    queries = queries_for(config, 8)
    valid = tf.constant([True] * 4 + [False] * 4)
    layer.update(layer(tf.constant(queries)), valid, tf.constant(3, tf.int64))
    revived = layer.codebooks.numpy()[0, 0, 1:]
    for codeword in revived:
        assert np.isclose(queries[:4], codeword, atol=1e-5).all(-1).any()


def test_sizes_that_disagree_are_named():
    with pytest.raises(ValueError, match="num_codebooks 3 does not divide dim 4"):
        VectorQuantizer(QuantizerConfig("product", num_codebooks=3), DIM)
    layer = VectorQuantizer(CONFIGS[0], DIM)
    with pytest.raises(ValueError, match=r"\(1, 2\).*expected.*\(3, 1, 5, 4\)"):
        layer.activate(np.zeros((1, 2)), np.zeros((1, 2)))


@pytest.mark.parametrize("structure", ["residual", "product"])
def test_start_codebooks_reduce_the_error(structure):
    from trainer.codebooks import start_codebooks

    config = QuantizerConfig(
        structure, num_query_tokens=2, num_codebooks=2 if structure == "product" else 1, num_codewords=8
    )
    queries = queries_for(config, 200)
    books, shares = start_codebooks(queries, config, seed=0)
    np.testing.assert_allclose(shares.sum(-1), 1.0, rtol=1e-5)
    layer = VectorQuantizer(config, DIM)
    layer.activate(books, shares)
    quantized = layer(tf.constant(queries))
    error = float(tf.reduce_mean(layer.commitment(quantized)))
    spread = float(np.mean(((queries - queries.mean(0)) ** 2).sum(-1)))
    assert error < (spread if structure == "residual" else spread * 2)


def test_start_codebooks_with_fewer_tokens_than_codewords():
    from trainer.codebooks import start_codebooks

    config = QuantizerConfig("residual", num_query_tokens=2, num_codewords=32)
    books, shares = start_codebooks(queries_for(config, 3), config, seed=0)
    assert books.shape == (2, 1, 32, DIM)
    assert np.isfinite(books).all()
    assert (shares > 0).all()
