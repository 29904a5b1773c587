"""Every tokenizer looks back only, and equals its paper's equations, written out one position at a time."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from trainer.config import TokenizerConfig
from trainer.layers.tokenizers import TOKENIZERS, StatelessDropout, Tokenizer, make_tokenizer, with_start

DIM, LENGTH, VECTORS = 8, 6, 3
EVERY = pytest.mark.parametrize("kind", TOKENIZERS)
# Padding, then events with a hole, as event dropout makes them; a full window; nothing at all.
PRESENT = np.array([[False, False, True, True, False, True], [True] * 6, [False] * 6])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([-1, -1, 3, 4], [-1, 9, 3, 4]),
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([-1, -1, -1, -1], [-1, -1, -1, 9]),
        ([-1, 0, 1, 2], [9, 0, 1, 2]),
    ],
)
def test_start_marker(rows, expected):
    assert with_start(tf.constant([rows]), 9).numpy().tolist() == [expected]


def test_dropout_is_a_function_of_seed_and_step():
    ones = tf.ones([4, 100])
    layer, other = StatelessDropout(0.5, seed=1), StatelessDropout(0.5, seed=2)
    first = layer(ones, tf.constant(3)).numpy()
    np.testing.assert_array_equal(first, layer(ones, tf.constant(3)))
    assert (first != layer(ones, tf.constant(4)).numpy()).any()
    assert (first != other(ones, tf.constant(3)).numpy()).any()
    np.testing.assert_array_equal(layer(ones), ones)


def events_of(batch: int = len(PRESENT)) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, LENGTH, DIM)).astype(np.float32)


def config_of(kind: str, **settings) -> TokenizerConfig:
    return TokenizerConfig(kind=kind, dim=DIM, **{"num_blocks": 2, "dropout": 0.5, **settings})


def layer_of(kind: str, num_vectors: int = VECTORS, **settings) -> Tokenizer:
    """A layer with weights everywhere, biases too, large enough that no term hides in rounding."""
    layer = make_tokenizer(config_of(kind, **settings), LENGTH, num_vectors)
    layer(tf.zeros([1, LENGTH, DIM]), tf.ones([1, LENGTH], tf.bool))
    rng = np.random.default_rng(1)
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape, scale=0.5))
    return layer


def encode(layer: Tokenizer, events: np.ndarray, present: np.ndarray, step: int | None = None) -> np.ndarray:
    return layer(tf.constant(events), tf.constant(present), step).numpy()


@EVERY
def test_no_vector_depends_on_later_events_or_on_what_stands_at_absent_ones(kind):
    layer, events = layer_of(kind), events_of()
    vectors = encode(layer, events, PRESENT)
    for place in range(LENGTH):
        changed = events.copy()
        changed[:, place, 0] += 1.0
        moved = np.abs(encode(layer, changed, PRESENT) - vectors).max(axis=(2, 3)) > 1e-5
        assert not moved[:, :place].any()
        assert (moved[:, place] == PRESENT[:, place]).all()
        assert not moved[~PRESENT[:, place]].any()


@EVERY
def test_whether_a_later_event_is_present_changes_no_vector(kind):
    layer, events = layer_of(kind), events_of()
    without = PRESENT.copy()
    without[:, 3:] = False
    np.testing.assert_allclose(
        encode(layer, events, without)[:, :3], encode(layer, events, PRESENT)[:, :3], rtol=1e-5, atol=1e-6
    )


@EVERY
def test_a_shorter_window_gives_the_same_last_vectors(kind):
    layer, events, present = layer_of(kind), events_of()[:1], PRESENT[:1]
    whole = encode(layer, events, present)
    np.testing.assert_allclose(encode(layer, events[:, 2:], present[:, 2:]), whole[:, 2:], rtol=1e-4, atol=1e-5)


@EVERY
@pytest.mark.parametrize("num_vectors", [1, 3])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_vectors_have_their_shape(kind, num_vectors, batch):
    vectors = encode(layer_of(kind, num_vectors), events_of(batch), PRESENT[:batch])
    assert vectors.shape == (batch, LENGTH, num_vectors, DIM)


@EVERY
def test_the_vectors_of_a_position_differ(kind):
    first, second, third = encode(layer_of(kind), events_of(), PRESENT)[1, -1]
    assert min(np.abs(first - second).max(), np.abs(second - third).max(), np.abs(first - third).max()) > 1e-3


@EVERY
def test_nothing_present_gives_learned_vectors_even_where_padding_is_not_finite(kind):
    layer, events = layer_of(kind), events_of()
    vectors = encode(layer, np.where(PRESENT[..., None], events, np.nan), PRESENT)
    np.testing.assert_array_equal(vectors, encode(layer, events, PRESENT))
    assert np.isfinite(vectors).all()
    empty = np.cumsum(PRESENT, axis=1) == 0
    np.testing.assert_array_equal(vectors[empty], np.tile(layer.empty_history, (empty.sum(), 1, 1)))


@EVERY
@pytest.mark.parametrize("num_vectors", [1, 3])
@pytest.mark.parametrize("step", [None, 7])
def test_a_moderate_gradient_reaches_every_fresh_weight_and_present_event(kind, num_vectors, step):
    tf.keras.utils.set_random_seed(1)
    layer, events = make_tokenizer(config_of(kind), LENGTH, num_vectors), tf.constant(events_of())
    weighting = np.random.default_rng(2).normal(size=(len(PRESENT), LENGTH, num_vectors, DIM)).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(events)
        units = tf.math.l2_normalize(layer(events, tf.constant(PRESENT), step), -1)
        loss = tf.reduce_sum(weighting * units)
    *of_weights, of_events = tape.gradient(loss, [*layer.trainable_variables, events])
    for variable, gradient in zip(layer.trainable_variables, of_weights, strict=True):
        assert gradient is not None, variable.name
        values = tf.convert_to_tensor(gradient).numpy()
        assert values.any(), variable.name
        assert np.abs(values).max() < 1e4, variable.name  # that of the unit vector of 0 is 1e6
    assert (of_events.numpy().any(axis=-1) == PRESENT).all()


@EVERY
def test_dropout_needs_a_step_and_repeats_itself(kind):
    layer, events = layer_of(kind), events_of()
    plain, dropped = encode(layer, events, PRESENT), encode(layer, events, PRESENT, step=3)
    np.testing.assert_array_equal(plain, encode(layer, events, PRESENT))
    np.testing.assert_array_equal(dropped, encode(layer, events, PRESENT, step=3))
    assert not np.allclose(dropped, plain)
    assert not np.allclose(dropped, encode(layer, events, PRESENT, step=4))
    still = layer_of(kind, dropout=0.0)
    np.testing.assert_array_equal(plain, encode(still, events, PRESENT, step=3))


@EVERY
def test_a_history_does_not_depend_on_its_batch(kind):
    layer, events = layer_of(kind), events_of()
    together = encode(layer, events, PRESENT)
    for row in range(len(events)):
        alone = encode(layer, events[row : row + 1], PRESENT[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-4, atol=1e-5)


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum()


def dense(layer: tf.keras.layers.Dense, vector: np.ndarray) -> np.ndarray:
    return sum((weight.numpy() for weight in layer.weights[1:]), vector @ layer.kernel.numpy())


def feed_forward(layer: tf.keras.layers.Layer, vector: np.ndarray) -> np.ndarray:
    for hidden in layer.hidden:
        vector = relu(dense(hidden, vector))
    return dense(layer.linear, vector)


def mean_pooling(layer: Tokenizer, events: list[np.ndarray], places: list[int]) -> np.ndarray:
    state = feed_forward(layer.feed_forward, sum(events) / len(events))
    return state @ layer.heads.kernel.numpy()


def gru(layer: Tokenizer, events: list[np.ndarray], places: list[int]) -> np.ndarray:
    for unit in layer.units:
        kernel, recurrent, bias = (np.split(weight.numpy(), 3, axis=-1) for weight in unit.weights)
        state, states = np.zeros(DIM), []
        for event in events:
            update, reset = (sigmoid(event @ kernel[k] + state @ recurrent[k] + bias[k]) for k in (0, 1))
            candidate = np.tanh(event @ kernel[2] + (reset * state) @ recurrent[2] + bias[2])
            state = update * state + (1 - update) * candidate
            states.append(state)
        events = states
    return state @ layer.heads.kernel.numpy()


def squash(capsule: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(capsule)
    return length**2 / (1 + length**2) * capsule / length


def capsules(layer: Tokenizer, events: list[np.ndarray], places: list[int]) -> np.ndarray:
    messages = [[event @ layer.maps[v].numpy() for v in range(VECTORS)] for event in events]
    logits = np.zeros((len(events), VECTORS))
    for _ in range(layer.config.routing_iterations):
        weights = [softmax(row) for row in logits]
        found = [squash(sum(w[v] * e[v] for w, e in zip(weights, messages, strict=True))) for v in range(VECTORS)]
        logits += [[found[v] @ message[v] for v in range(VECTORS)] for message in messages]
    return np.concatenate([feed_forward(layer.feed_forward, capsule) for capsule in found])


def multi_interest(layer: Tokenizer, events: list[np.ndarray], places: list[int]) -> np.ndarray:
    logits = []
    for event, place in zip(events, places, strict=True):
        hidden = np.tanh(dense(layer.hidden, event + layer.positions[place].numpy()))
        logits.append(dense(layer.logits, hidden))
    weights = [softmax(np.array(logits)[:, v]) for v in range(VECTORS)]
    return np.concatenate([sum(w * e for w, e in zip(weights[v], events, strict=True)) for v in range(VECTORS)])


@pytest.mark.parametrize(
    ("oracle", "settings"),
    [
        (mean_pooling, {"num_blocks": 1}),
        (mean_pooling, {"num_blocks": 2}),
        (gru, {"num_blocks": 1}),
        (gru, {"num_blocks": 2}),
        (capsules, {"routing_iterations": 1}),
        (capsules, {"routing_iterations": 2}),
        (capsules, {"routing_iterations": 3}),
        (multi_interest, {}),
    ],
)
def test_vectors_follow_the_papers_equations(oracle, settings):
    layer, events = layer_of(oracle.__name__, **settings), events_of()
    vectors = encode(layer, events, PRESENT)
    for row in range(len(events)):
        for place in range(LENGTH):
            seen = [s for s in range(place + 1) if PRESENT[row, s]]
            if seen:
                expected = oracle(layer, [events[row, s] for s in seen], seen).reshape(VECTORS, DIM)
                np.testing.assert_allclose(vectors[row, place], expected, rtol=1e-3, atol=1e-5)


def test_an_attention_far_below_later_ones_is_still_a_softmax():
    layer = layer_of("multi_interest", 1)
    layer.positions.assign(tf.zeros_like(layer.positions))
    layer.logits.kernel.assign(200.0 * layer.logits.kernel)
    events = np.zeros((1, LENGTH, DIM), np.float32)
    logit = tf.squeeze(layer.logits(layer.hidden(tf.constant(events_of(1))))).numpy()
    low, high = logit.argmin(), logit.argmax()
    assert logit[high] - logit[low] > 200  # exp of the difference is 0 in float32
    events[0, 0], events[0, 1] = events_of(1)[0, low], events_of(1)[0, high]
    np.testing.assert_allclose(encode(layer, events, np.ones((1, LENGTH), bool))[0, 0, 0], events[0, 0], rtol=1e-5)


@EVERY
def test_a_saved_model_has_stock_ops_only_and_gives_the_same(kind, tmp_path):
    module = tf.Module()
    module.layer = layer_of(kind)
    module.encode = tf.function(
        lambda events, present: module.layer(events, present),
        input_signature=[tf.TensorSpec([None, None, DIM]), tf.TensorSpec([None, None], tf.bool)],
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for length in (LENGTH, 2):
        events, present = events_of()[:, -length:], PRESENT[:, -length:]
        expected = encode(module.layer, events, present)
        np.testing.assert_allclose(loaded.encode(events, present), expected, rtol=1e-4, atol=1e-5)
    graph = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    ops = {node.op for node in graph.node} | {
        node.op for function in graph.library.function for node in function.node_def
    }
    functions = {function.signature.name for function in graph.library.function}
    assert not {op for op in ops - functions if op_def_registry.get(op) is None}
    assert not {op for op in ops if "Cudnn" in op or "PyFunc" in op}
