"""I5, I6, I7 for the quantizer, its gradients, and the balance of its codes."""

import dataclasses

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
    QuantizerConfig("residual", num_query_tokens=4, num_vectors=2, num_codewords=5, revive_fraction=0.0),
    QuantizerConfig("separate", num_query_tokens=3, num_codebooks=2, num_codewords=5, revive_fraction=0.0),
    QuantizerConfig("product", num_query_tokens=3, num_codebooks=2, num_codewords=5, revive_fraction=0.0),
]
NONE = QuantizerConfig("none", num_query_tokens=3, num_codebooks=2, num_codewords=5)
ALL = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.structure}_{config.num_input_vectors}")
DIM = 4


def make(config: QuantizerConfig, seed: int = 0) -> VectorQuantizer:
    layer = VectorQuantizer(config, DIM, seed=seed)
    rng = np.random.default_rng(seed)
    shape = tuple(layer.codebooks.shape)
    layer.activate(rng.normal(size=shape).astype(np.float32), rng.uniform(0.5, 2, shape[:3]).astype(np.float32))
    return layer


def queries_for(config: QuantizerConfig, count: int, seed: int = 1) -> np.ndarray:
    shape = (count, config.num_input_vectors, DIM)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def vector_and_slot(config: QuantizerConfig, token: int) -> tuple[int, int]:
    """Which query vector a token is made of, and which slot has its codebooks."""
    return token // config.num_levels, 0 if config.structure == "product" else token


def penalty(layer: VectorQuantizer, slot: int, m: int) -> np.ndarray:
    """What size_discount adds to the distances of a codebook, as a user would write it down."""
    book, counts = layer.codebooks.numpy()[slot, m].astype(float), layer.counts.numpy()[slot, m].astype(float)
    shares = counts / counts.sum()
    centre = np.average(book, axis=0, weights=counts)
    spread = sum(share * ((word - centre) ** 2).sum() for share, word in zip(shares, book, strict=True))
    return layer.config.size_discount * spread * np.log(1 + len(book) * shares)


def oracle(layer: VectorQuantizer, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, codes, codewords and distances, one part at a time."""
    config, books = layer.config, layer.codebooks.numpy()
    part = DIM // config.num_codebooks
    all_tokens, all_codes, all_words, all_distances = [], [], [], []
    for query in queries:
        left, tokens, codes, words, measured = query.copy(), [], [], [], []
        for position in range(config.num_query_tokens):
            vector, slot = vector_and_slot(config, position)
            token, code, word, rows = left[vector].copy(), [], [], []
            for m in range(config.num_codebooks):
                piece = token[m * part : (m + 1) * part]
                distances = [float(((piece - codeword) ** 2).sum()) for codeword in books[slot, m]]
                rows.append(distances + penalty(layer, slot, m))
                code.append(int(np.argmin(rows[-1])))
                word.extend(books[slot, m, code[-1]])
            left[vector] -= np.array(word)
            tokens.append(token), codes.append(code), words.append(word), measured.append(rows)
        all_tokens.append(tokens), all_codes.append(codes), all_words.append(words), all_distances.append(measured)
    return np.array(all_tokens), np.array(all_codes), np.array(all_words), np.array(all_distances)


@ALL
@given(seed=st.integers(0, 10_000), count=st.integers(0, 7), discount=st.sampled_from([0.0, 0.5]))
@settings(max_examples=25, deadline=None)
def test_codes_equal_oracle(config, seed, count, discount):
    layer = make(dataclasses.replace(config, size_discount=discount), seed)
    queries = queries_for(config, count, seed + 1)
    quantized = layer(tf.constant(queries))
    if count == 0:
        assert quantized.codes.shape == (0, config.num_query_tokens, config.num_codebooks)
        return
    tokens, codes, codewords, distances = oracle(layer, queries)
    np.testing.assert_array_equal(quantized.codes, codes)
    np.testing.assert_array_equal(quantized.codes, np.argmin(quantized.distances, -1))
    np.testing.assert_allclose(quantized.tokens, tokens, atol=1e-5)
    np.testing.assert_allclose(quantized.output, codewords, atol=1e-5)
    np.testing.assert_allclose(quantized.distances, distances, atol=1e-4)


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


@ALL
def test_keys_follow_the_code_space(config):
    layer = make(config)
    quantized = layer(tf.constant(queries_for(config, 6)))
    space = CodeSpace(config.num_slots, config.num_codebooks, config.num_codewords)
    slots = np.arange(config.num_query_tokens) % config.num_slots
    np.testing.assert_array_equal(quantized.keys, space.key(slots, quantized.codes.numpy()))
    words, found = layer.codewords_of(tf.reshape(quantized.keys, [-1]))
    np.testing.assert_array_equal(words, tf.reshape(quantized.codewords, [-1, DIM]))
    np.testing.assert_array_equal(found, np.tile(slots, 6))


@ALL
def test_commitment_sums_the_squared_errors(config):
    layer, queries = make(config), queries_for(config, 3)
    tokens, _, words, _ = oracle(layer, queries)
    expected = ((tokens - words) ** 2).sum((1, 2))
    np.testing.assert_allclose(layer.commitment(layer(tf.constant(queries))), expected, rtol=1e-4)


@ALL
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_moving_averages_equal_the_formula(config, seed):
    layer = make(config, seed)
    queries = queries_for(config, 9, seed + 1)
    counts, sums = layer.counts.numpy().astype(np.float64), layer.sums.numpy().astype(np.float64)
    tokens, codes, _, _ = oracle(layer, queries)
    part = DIM // config.num_codebooks
    new_counts, new_sums = np.zeros_like(counts), np.zeros_like(sums)
    for p in range(9):
        for i in range(config.num_query_tokens):
            for m in range(config.num_codebooks):
                place = (vector_and_slot(config, i)[1], m, codes[p, i, m])
                new_counts[place] += 1
                new_sums[place] += tokens[p, i, m * part : (m + 1) * part]
    counts = config.decay * counts + (1 - config.decay) * new_counts
    sums = config.decay * sums + (1 - config.decay) * new_sums
    layer.update(layer(tf.constant(queries)), tf.constant(0, tf.int64))
    np.testing.assert_allclose(layer.counts, counts, rtol=1e-5)
    np.testing.assert_allclose(layer.sums, sums, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.codebooks, sums / counts[..., None], rtol=1e-4, atol=1e-5)


@ALL
def test_calling_changes_no_state(config):
    layer = make(dataclasses.replace(config, size_discount=0.5))
    before = [variable.numpy() for variable in layer.variables]
    quantized = layer(tf.constant(queries_for(config, 5)))
    layer.commitment(quantized), layer.balance(quantized), layer.diagnostics(quantized)
    for old, variable in zip(before, layer.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


@ALL
def test_before_activation_nothing_is_quantised_or_learned(config):
    layer = VectorQuantizer(config, DIM)
    queries = queries_for(config, 5)
    quantized = layer(tf.constant(queries))
    before = layer.codebooks.numpy()
    layer.update(quantized, tf.constant(0, tf.int64))
    np.testing.assert_array_equal(layer.codebooks, before)
    np.testing.assert_array_equal(layer.commitment(quantized), np.zeros(5))
    assert float(layer.balance(quantized)) == 0.0
    levels = quantized.output.numpy().reshape(5, config.num_input_vectors, config.num_levels, DIM)
    np.testing.assert_array_equal(levels[:, :, 0], queries)
    np.testing.assert_array_equal(levels[:, :, 1:], np.zeros_like(levels[:, :, 1:]))


def test_none_leaves_the_vectors_as_they_are():
    layer = VectorQuantizer(NONE, DIM)
    queries = tf.constant(queries_for(NONE, 4))
    with tf.GradientTape() as tape:
        tape.watch(queries)
        quantized = layer(queries)
        total = tf.reduce_sum(quantized.output**2)
    np.testing.assert_allclose(tape.gradient(total, queries), 2 * queries, rtol=1e-6)
    for values in (quantized.tokens, quantized.codewords, quantized.output):
        np.testing.assert_array_equal(values, queries)
    np.testing.assert_array_equal(quantized.codes, np.zeros((4, 3, 2)))
    np.testing.assert_array_equal(quantized.keys, np.tile([0, 25, 50], (4, 1)))
    assert quantized.distances.shape == (4, 3, 2, 0)
    layer.update(quantized, tf.constant(0, tf.int64))
    np.testing.assert_array_equal(layer.commitment(quantized), np.zeros(4))
    assert float(layer.balance(quantized)) == 0.0
    assert layer.diagnostics(quantized) == {}
    assert sum(variable.shape.num_elements() for variable in layer.variables) == 1  # `active`
    with pytest.raises(ValueError, match="'none' has no codewords"):
        layer.activate(layer.codebooks.numpy(), layer.counts.numpy())
    assert not bool(layer.active)


def rotation_matrix(token: np.ndarray, codeword: np.ndarray) -> np.ndarray:
    """Turns token onto codeword, lengths included: Householder reflections of the token, then of the middle."""
    start, end = token / np.linalg.norm(token), codeword / np.linalg.norm(codeword)
    middle = (start + end) / np.linalg.norm(start + end)
    reflections = [np.eye(len(token)) - 2 * np.outer(normal, normal) for normal in (middle, start)]
    return np.linalg.norm(codeword) / np.linalg.norm(token) * reflections[0] @ reflections[1]


@ALL
@pytest.mark.parametrize("gradient", ["straight_through", "commit_only", "rotation"])
def test_gradient_equals_the_jacobian_by_hand(config, gradient):
    layer = make(dataclasses.replace(config, gradient=gradient))
    values, part = queries_for(config, 3), DIM // config.num_codebooks
    tokens, _, words, _ = oracle(layer, values.astype(np.float64))
    weights = np.random.default_rng(5).normal(size=tokens.shape)
    expected = np.zeros(values.shape)
    for p, k in np.ndindex(3, config.num_query_tokens):
        for m in range(config.num_codebooks):
            cut = slice(m * part, (m + 1) * part)
            jacobian = {
                "straight_through": np.eye(part),
                "commit_only": np.zeros((part, part)),
                "rotation": rotation_matrix(tokens[p, k, cut], words[p, k, cut]),
            }[gradient]
            expected[p, vector_and_slot(config, k)[0], cut] += jacobian.T @ weights[p, k, cut]
    queries = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(queries)
        output = layer(queries).output
        total = tf.reduce_sum(output * tf.constant(weights, tf.float32))
    np.testing.assert_allclose(output, words, atol=1e-5)
    found = tape.gradient(total, queries, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("token", "codeword", "jacobian"),
    [
        ([0, 0, 0, 0], [1, 2, 0, 0], np.eye(4)),
        ([1, 2, 0, 0], [0, 0, 0, 0], np.eye(4)),
        ([0, 0, 0, 0], [0, 0, 0, 0], np.eye(4)),
        ([2, 0, 0, 0], [-6, 0, 0, 0], 3 * np.diag([-1, 1, 1, 1])),
    ],
    ids=["zero token", "zero codeword", "both zero", "opposite"],
)
def test_rotation_is_safe_where_there_is_no_angle(token, codeword, jacobian):
    config = QuantizerConfig("separate", num_query_tokens=1, num_codewords=1, gradient="rotation")
    layer = VectorQuantizer(config, DIM)
    layer.activate(np.array(codeword, np.float32)[None, None, None], np.ones((1, 1, 1), np.float32))
    query = tf.constant([[token]], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(query)
        output = layer(query).output[0, 0]
    np.testing.assert_allclose(output, codeword, atol=1e-6)
    np.testing.assert_allclose(tape.jacobian(output, query)[:, 0, 0], jacobian, atol=1e-6)


def divergence(layer: VectorQuantizer, tokens: np.ndarray, scales: np.ndarray | None = None):
    """Mean KL of the mean soft assignment from uniform, and the scales `[slots, M]` it took."""
    config, part = layer.config, DIM // layer.config.num_codebooks
    found, taken = [], np.zeros((config.num_slots, config.num_codebooks))
    for slot, m in np.ndindex(*taken.shape):
        own = [k for k in range(config.num_query_tokens) if vector_and_slot(config, k)[1] == slot]
        pieces = tokens[:, own, m * part : (m + 1) * part].reshape(-1, part)
        book = layer.codebooks.numpy()[slot, m].astype(float)
        distances = np.array([[((piece - word) ** 2).sum() for word in book] for piece in pieces])
        ordered = np.sort(distances)
        taken[slot, m] = (ordered[:, 1] - ordered[:, 0]).mean() if scales is None else scales[slot, m]
        soft = np.exp(-(distances - ordered[:, :1]) / taken[slot, m])
        mean = (soft / soft.sum(1, keepdims=True)).mean(0)
        found.append((mean * np.log(mean * len(book))).sum())
    return np.mean(found), taken


@ALL
def test_balance_and_its_gradient_equal_finite_differences(config):
    layer, values = make(config), queries_for(config, 6)
    tokens, _, _, _ = oracle(layer, values.astype(np.float64))
    queries = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(queries)
        balance = layer.balance(layer(queries))
    expected, scales = divergence(layer, tokens)
    np.testing.assert_allclose(balance, expected, rtol=1e-4)
    found = tape.gradient(balance, queries).numpy()
    for p, v, d in np.ndindex(2, *values.shape[1:]):
        sides = []
        for step in (1e-5, -1e-5):
            moved = tokens.copy()
            moved[p, v * config.num_levels : (v + 1) * config.num_levels, d] += step
            sides.append(divergence(layer, moved, scales)[0])
        np.testing.assert_allclose(found[p, v, d], (sides[0] - sides[1]) / 2e-5, rtol=1e-2, atol=1e-5)


def test_following_the_balance_spreads_the_codes():
    layer = make(dataclasses.replace(CONFIGS[2], num_query_tokens=1, num_codebooks=1))
    crowd = layer.codebooks.numpy()[0, 0, 0]
    queries = tf.constant(crowd + 0.5 * queries_for(layer.config, 60))
    start = layer.diagnostics(layer(queries))["perplexity"].numpy().item()
    for _ in range(30):
        with tf.GradientTape() as tape:
            tape.watch(queries)
            balance = layer.balance(layer(queries))
        queries -= 5.0 * tape.gradient(balance, queries)
    assert layer.diagnostics(layer(queries))["perplexity"].numpy().item() > start + 0.5


def test_balance_of_one_codeword_or_no_query_is_zero():
    assert float(layer_of_one().balance(layer_of_one()(tf.ones([3, 1, DIM])))) == 0.0
    layer = make(CONFIGS[0])
    assert float(layer.balance(layer(tf.zeros([0, 1, DIM])))) == 0.0


def layer_of_one() -> VectorQuantizer:
    return make(QuantizerConfig("separate", num_query_tokens=1, num_codewords=1))


@pytest.mark.parametrize(("discount", "code"), [(0.0, 0), (0.1, 1)])
def test_size_discount_moves_a_token_from_a_crowd_to_an_empty_neighbour(discount, code):
    config = QuantizerConfig("separate", num_query_tokens=1, num_codewords=3, size_discount=discount)
    layer = VectorQuantizer(config, DIM)
    book = np.zeros((1, 1, 3, DIM), np.float32)
    book[0, 0, :, 0] = [0.0, 1.0, -5.0]
    layer.activate(book, np.array([[[90.0, 0.1, 9.9]]], np.float32))
    token = tf.constant([[[0.45, 0.0, 0.0, 0.0]]])  # nearer to the crowded codeword, by little
    assert layer(token).codes.numpy().item() == code
    assert layer(tf.zeros([1, 1, DIM])).codes.numpy().item() == 0  # right on it, the crowd still wins


@ALL
def test_diagnostics_equal_oracle(config):
    layer, queries = make(config), queries_for(config, 6)
    tokens, codes, words, _ = oracle(layer, queries)
    found = layer.diagnostics(layer(tf.constant(queries)))
    for slot in range(config.num_slots):
        own = [k for k in range(config.num_query_tokens) if vector_and_slot(config, k)[1] == slot]
        for m in range(config.num_codebooks):
            counts = np.unique(codes[:, own, m], return_counts=True)[1]
            shares = counts / counts.sum()
            np.testing.assert_allclose(found["perplexity"][slot, m], np.prod(shares**-shares), rtol=1e-4)
            np.testing.assert_allclose(found["dead_codes"][slot, m], 1 - len(counts) / config.num_codewords, rtol=1e-5)
        error = ((tokens - words)[:, own] ** 2).sum() / (tokens[:, own] ** 2).sum()
        np.testing.assert_allclose(found["error"][slot], error, rtol=1e-4)
    whole = words.reshape(6, config.num_input_vectors, config.num_levels, DIM).sum(2)
    np.testing.assert_allclose(found["total_error"], ((queries - whole) ** 2).sum() / (queries**2).sum(), rtol=1e-4)


@pytest.mark.parametrize("structure", ["residual", "separate", "product"])
def test_dead_codewords_come_back_on_tokens_of_their_slot(structure):
    config = QuantizerConfig(
        structure, num_query_tokens=2, num_vectors=1, num_codewords=4, revive_fraction=0.6, decay=0.5
    )
    layer = VectorQuantizer(config, DIM)
    far = np.full(tuple(layer.codebooks.shape), 100.0, np.float32)
    far[:, :, 0] = 0.0
    layer.activate(far, np.ones(far.shape[:3], np.float32))
    queries = queries_for(config, 4)
    quantized = layer(tf.constant(queries))
    layer.update(quantized, tf.constant(3, tf.int64))
    for slot in range(config.num_slots):
        tokens = quantized.tokens.numpy().reshape(-1, DIM) if structure == "product" else quantized.tokens[:, slot]
        for codeword in layer.codebooks.numpy()[slot, 0, 1:]:
            assert np.isclose(tokens, codeword, atol=1e-5).all(-1).any()


def test_without_a_query_nothing_revives():
    layer = make(dataclasses.replace(CONFIGS[0], revive_fraction=0.9))
    before = layer.codebooks.numpy()
    layer.update(layer(tf.constant(queries_for(layer.config, 0))), tf.constant(0, tf.int64))
    np.testing.assert_allclose(layer.codebooks, before, rtol=1e-5)


@pytest.mark.parametrize("config", [*CONFIGS, NONE], ids=lambda config: f"{config.structure}_{config.num_vectors}")
def test_a_restored_layer_gives_the_same(config, tmp_path):
    layer, other = (VectorQuantizer(config, DIM, seed=seed) for seed in (0, 1))
    if config.structure != "none":
        layer = make(config)
    queries = tf.constant(queries_for(config, 5))
    layer.update(layer(queries), tf.constant(0, tf.int64))
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "layer"))
    tf.train.Checkpoint(layer=other).read(path).assert_consumed()
    for saved, restored in zip(layer.variables, other.variables, strict=True):
        np.testing.assert_array_equal(saved, restored)
    for left, right in zip(layer(queries), other(queries), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("config", [*CONFIGS, NONE], ids=lambda config: f"{config.structure}_{config.num_vectors}")
def test_in_a_graph_of_unknown_batch_it_gives_the_same(config):
    layer = VectorQuantizer(config, DIM) if config.structure == "none" else make(config)
    graph = tf.function(layer, input_signature=[tf.TensorSpec([None, config.num_input_vectors, DIM], tf.float32)])
    queries = tf.constant(queries_for(config, 5))
    for left, right in zip(layer(queries), graph(queries), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)


def test_sizes_that_disagree_are_named():
    with pytest.raises(ValueError, match="num_codebooks 3 does not divide dim 4"):
        VectorQuantizer(QuantizerConfig("product", num_codebooks=3), DIM)
    layer = VectorQuantizer(CONFIGS[0], DIM)
    with pytest.raises(ValueError, match=r"\(1, 2\).*expected.*\(3, 1, 5, 4\)"):
        layer.activate(np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"\(7, 4\).*'residual' expects \[None, 1, 4\]"):
        layer(tf.zeros([7, DIM]))
