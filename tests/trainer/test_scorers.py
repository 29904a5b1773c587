"""Every interaction equals its equations, written out for one pair at a time; its costs are those of its graph."""

import math
import typing

import numpy as np
import pytest
import tensorflow as tf

from trainer.config import ScorerConfig
from trainer.layers.scorers import INTERACTIONS, Costs, HybridScorer, Interaction, make_interaction

TOKENS, WIDTH, HIDDEN, DIM, SLOTS = 3, 4, 5, 6, 2
CASES = [(kind, 2) for kind in INTERACTIONS] + [(kind, layers) for kind in ("dnn", "cross") for layers in (1, 3, 4)]
EVERY = pytest.mark.parametrize(("kind", "layers"), CASES)


def layer_of(kind: str, layers: int) -> Interaction:
    """A layer with weights everywhere, biases too, large enough that no term hides in rounding."""
    tf.keras.utils.set_random_seed(1)
    sizes = {"num_item_tokens": TOKENS, "product_dim": WIDTH, "hidden": HIDDEN, "num_layers": layers}
    layer = make_interaction(ScorerConfig(kind=kind, **sizes), SLOTS, DIM)
    rng = np.random.default_rng(2)
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape, scale=0.4))
    return layer


def inputs(codes: int, items: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    rng = np.random.default_rng(3)
    codewords, vectors = (tf.constant(rng.normal(size=(n, DIM), scale=0.4), tf.float32) for n in (codes, items))
    return codewords, tf.constant(rng.integers(0, SLOTS, codes), tf.int32), vectors


def all_pairs(layer: Interaction, codewords: tf.Tensor, slots: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
    return layer.pairs(layer.code_part(codewords, slots), layer.item_part(vectors))


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


def softmax(logits: list[float]) -> np.ndarray:
    return np.array([math.exp(logit) for logit in logits]) / sum(math.exp(logit) for logit in logits)


def tokens(vector: np.ndarray, kernel: np.ndarray) -> list[np.ndarray]:
    """Each of the K_c tokens by its own columns of the kernel."""
    return [vector @ kernel[:, j * WIDTH : (j + 1) * WIDTH] for j in range(TOKENS)]


def hybrid(w: dict, q: np.ndarray, slot: int, c: np.ndarray) -> float:
    hidden = q @ w["query_offset"][slot] + c @ w["item_offset"] + w["hidden_bias"]
    for j, (left, right) in enumerate(zip(tokens(q, w["query_products"]), tokens(c, w["item_tokens"]), strict=True)):
        hidden = hidden + w["mix"][:, j * WIDTH : (j + 1) * WIDTH] @ (left * right)
    return relu(hidden) @ w["output"]


def dnn(w: dict, q: np.ndarray, slot: int, c: np.ndarray) -> float:
    kernel = np.concatenate([w["query_layer"][slot], w["item_layer"]])
    hidden = relu(np.concatenate([q, c]) @ kernel + w["bias_0"])
    n = 1
    while f"layer_{n}" in w:
        hidden = relu(w[f"layer_{n}"] @ hidden + w[f"bias_{n}"])
        n += 1
    return hidden @ w["output"]


def fm(w: dict, q: np.ndarray, slot: int, c: np.ndarray) -> float:
    fields = [q @ w["query_factors"][slot], *tokens(c, w["item_factors"])]
    score = w["query_linear"] @ q + w["item_linear"] @ c
    for j in range(len(fields)):
        for k in range(j):
            score += fields[j] @ fields[k]
    return score


def cross(w: dict, q: np.ndarray, slot: int, c: np.ndarray) -> float:
    start = np.concatenate([q @ w["query"][slot], c @ w["item"]])
    x, n = start, 0
    while f"layer_{n}" in w:
        x = start * (w[f"layer_{n}"] @ x + w[f"bias_{n}"]) + x
        n += 1
    return w["output"] @ x


def attention(w: dict, q: np.ndarray, slot: int, c: np.ndarray) -> float:
    query = q @ w["query"][slot] / math.sqrt(WIDTH)
    keys = tokens(c, w["item_tokens"])
    share = softmax([query @ key for key in keys])
    attended = sum(a * key for a, key in zip(share, keys, strict=True))
    return query @ attended + share @ (c @ w["item_values"])


def mixture_of_logits(w: dict, q: np.ndarray, slot: int, c: np.ndarray) -> float:
    left, right = tokens(q, w["query_components"][slot]), tokens(c, w["item_components"])
    logits = np.array([f @ g / np.linalg.norm(f) / np.linalg.norm(g) for f in left for g in right])
    gate = q @ w["query_gate"][slot] + c @ w["item_gate"]
    gate = gate + w["gate_output"] @ relu(w["gate_hidden"] @ logits + w["gate_bias"])
    return math.exp(w["log_scale"].item()) * (softmax(gate) @ logits)


ORACLES = {f.__name__: f for f in (hybrid, dnn, fm, cross, attention, mixture_of_logits)}


@EVERY
@pytest.mark.parametrize(("codes", "items"), [(7, 7), (1, 1), (1, 4), (4, 1), (0, 3), (3, 0)])
def test_pairs_and_aligned_equal_one_pair_at_a_time(kind, layers, codes, items):
    layer = layer_of(kind, layers)
    codewords, slots, vectors = inputs(codes, items)
    weights = {variable.name.split(":")[0]: variable.numpy().astype(np.float64) for variable in layer.weights}
    assert len(weights) == len(layer.weights)
    queries, candidates = (side.numpy().astype(np.float64) * DIM**0.5 for side in (codewords, vectors))
    rows = [[ORACLES[kind](weights, q, s, c) for c in candidates] for q, s in zip(queries, slots.numpy(), strict=True)]
    expected = np.array(rows).reshape(codes, items)
    np.testing.assert_allclose(all_pairs(layer, codewords, slots, vectors), expected, rtol=1e-4, atol=1e-4)
    n = min(codes, items)
    aligned = layer.aligned(layer.code_part(codewords[:n], slots[:n]), layer.item_part(vectors[:n]))
    np.testing.assert_allclose(aligned, np.diag(expected[:n, :n]), rtol=1e-4, atol=1e-4)


@EVERY
def test_gradients_of_pairs_and_aligned_agree_and_reach_every_weight_and_both_sides(kind, layers):
    layer = layer_of(kind, layers)
    codewords, slots, vectors = inputs(9, 9)
    sources = [codewords, vectors, *layer.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([codewords, vectors])
        codes, parts = layer.code_part(codewords, slots), layer.item_part(vectors)
        diagonal = tf.linalg.diag_part(layer.pairs(codes, parts))
        aligned = layer.aligned(codes, parts)
    for left, right in zip(tape.gradient(diagonal, sources), tape.gradient(aligned, sources), strict=True):
        assert np.abs(left).max() > 1e-4
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-4)


@EVERY
def test_gradient_of_a_codeword_equals_differences(kind, layers):
    layer = layer_of(kind, layers)
    codewords, slots, vectors = inputs(1, 5)
    with tf.GradientTape() as tape:
        tape.watch(codewords)
        score = tf.reduce_sum(all_pairs(layer, codewords, slots, vectors))
    found = tape.gradient(score, codewords)[0]
    step = 1e-3
    for d in range(DIM):
        ends = [codewords + sign * step * tf.one_hot([d], DIM) for sign in (1, -1)]
        up, down = (float(tf.reduce_sum(all_pairs(layer, end, slots, vectors))) for end in ends)
        assert float(found[d]) == pytest.approx((up - down) / (2 * step), rel=0.02, abs=0.05)


@EVERY
def test_starts_small_but_learns(kind, layers):
    """Beside an inner product of up to 20; of the sizes of the default configuration."""
    tf.keras.utils.set_random_seed(1)
    layer = make_interaction(ScorerConfig(kind=kind, num_layers=layers), SLOTS, 64)
    rng = np.random.default_rng(0)
    codewords, vectors = (tf.math.l2_normalize(tf.constant(rng.normal(size=(50, 64)), tf.float32), -1) for _ in "qc")
    slots = tf.constant(rng.integers(0, SLOTS, 50), tf.int32)
    with tf.GradientTape() as tape:
        scores = all_pairs(layer, codewords, slots, vectors)
        loss = tf.reduce_sum(scores * rng.normal(size=scores.shape))
    assert 0.01 < float(tf.math.reduce_std(scores)) < 1
    assert all(np.abs(gradient).max() > 1e-3 for gradient in tape.gradient(loss, layer.trainable_variables))


def test_large_logits_do_not_overflow():
    for kind in ("attention", "mixture_of_logits"):
        layer = layer_of(kind, 2)
        codewords, slots, vectors = inputs(3, 3)
        assert np.isfinite(all_pairs(layer, codewords * 1e3, slots, vectors * 1e3)).all()


# FLOPs of one number of an operation's output, or, of those that reduce, of its input.
OF_OUTPUT = {"AddV2", "Sub", "Mul", "RealDiv", "Exp", "Relu", "Maximum", "Rsqrt", "Square", "Neg"}
OF_INPUT = {"Sum", "Max"}
FREE = {
    *("Placeholder", "Const", "ReadVariableOp", "Identity", "IdentityN", "NoOp", "Reshape", "Transpose", "Pack"),
    *(
        "GatherNd",
        "Shape",
        "StridedSlice",
        "Range",
        "ConcatV2",
        "OnesLike",
        "ZerosLike",
        "ExpandDims",
        "Fill",
        "Squeeze",
    ),
}


def flops(layer: Interaction, codes: int, items: int) -> int:
    """FLOPs of every operation in the graph of all pairs."""
    specs = [tf.TensorSpec(t.shape, t.dtype) for t in inputs(codes, items)]
    graph = tf.function(lambda q, slots, c: all_pairs(layer, q, slots, c)).get_concrete_function(*specs).graph
    total = 0
    for op in graph.get_operations():
        if op.type in OF_OUTPUT and op.outputs[0].dtype == tf.float32:
            total += op.outputs[0].shape.num_elements()
        elif op.type in OF_INPUT:
            total += op.inputs[0].shape.num_elements()
        elif op.type in ("MatMul", "BatchMatMulV2"):
            columns = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
            inner = op.inputs[0].shape[-2 if columns else -1]
            total += 2 * inner * op.outputs[0].shape.num_elements()
        else:
            assert op.type in FREE | OF_OUTPUT, op.type
    return total


@EVERY
def test_costs_are_those_of_the_graph(kind, layers):
    layer = layer_of(kind, layers)
    # Differences: what is done once whatever the number of codes and items drops out.
    per_pair = flops(layer, 6, 8) - flops(layer, 3, 8) - flops(layer, 6, 4) + flops(layer, 3, 4)
    per_code = flops(layer, 6, 4) - flops(layer, 3, 4) - 3 * 4 * layer.costs().per_pair
    per_item = flops(layer, 3, 8) - flops(layer, 3, 4) - 3 * 4 * layer.costs().per_pair
    assert layer.costs() == Costs(per_code / 3, per_item / 4, per_pair / 12)


def test_costs_of_the_default_hybrid_by_hand():
    costs = HybridScorer(ScorerConfig(), 1, 64).costs()
    assert costs.per_pair == 8 * 2 * 33 + 8 + 8 * 2 + 1


def test_there_is_a_layer_for_every_kind_but_none():
    kinds = typing.get_args(typing.get_type_hints(ScorerConfig)["kind"])
    assert {*INTERACTIONS, "none"} == set(kinds)
    assert make_interaction(ScorerConfig(kind="none"), SLOTS, DIM) is None
    assert isinstance(make_interaction(ScorerConfig(), SLOTS, DIM), HybridScorer)
