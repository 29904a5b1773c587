"""S(q, c) of tokens: by hand, all pairs and own pairs alike, and the shares of an item's bias."""

from __future__ import annotations

import typing

import numpy as np
import pytest
import tensorflow as tf

from tests.support.models import small_config
from trainer.config import Config, ScorerConfig
from trainer.layers.token_scorer import TokenScorer

KINDS = typing.get_args(typing.get_type_hints(ScorerConfig)["kind"])
STRUCTURES = ("residual", "separate", "product", "none")
QUERIES, ITEMS = 5, 7


def scorer_of(config: Config) -> TokenScorer:
    """A scorer whose interaction is large enough to show."""
    tf.keras.utils.set_random_seed(1)
    layer = TokenScorer(config)
    rng = np.random.default_rng(2)
    for variable in layer.weights:
        variable.assign(rng.normal(size=variable.shape, scale=0.4))
    return layer


def inputs(num_tokens: int, dim: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens `[P, K_u, D]`, item vectors `[I, D]` and biases `[I]`."""
    rng = np.random.default_rng(3)
    shapes = (QUERIES, num_tokens, dim), (ITEMS, dim), (ITEMS,)
    return tuple(rng.normal(size=shape, scale=0.5).astype(np.float32) for shape in shapes)


def by_grid(layer: TokenScorer, tokens: np.ndarray, vectors: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """`[P, K_u, I]` from `grid`, which does not know of queries."""
    slots = np.tile(layer.token_slots, len(tokens))
    return np.reshape(
        layer.pairs(layer.code_parts(tokens.reshape(-1, tokens.shape[-1]), slots), layer.item_parts(vectors, biases)),
        [*tokens.shape[:2], -1],
    )


@pytest.mark.parametrize(
    ("kind", "inner_product"),
    [(kind, inner) for kind in KINDS for inner in (True, False) if inner or kind != "none"],
)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_own_pairs_are_among_all_pairs(kind, inner_product, structure):
    config = small_config(structure, scorer={"kind": kind, "inner_product": inner_product})
    layer = scorer_of(config)
    tokens, vectors, biases = inputs(config.quantizer.num_query_tokens)
    picks = np.random.default_rng(4).integers(0, ITEMS, (QUERIES, 3))
    own = layer.linear_own(tokens, vectors[picks], biases[picks]) + layer.interaction_own(tokens, vectors[picks])
    expected = np.take_along_axis(by_grid(layer, tokens, vectors, biases), picks[:, None], 2)
    np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_without_interaction_it_is_the_inner_product_and_the_share_of_the_bias(structure):
    config = small_config(structure, scorer={"kind": "none", "temperature": 0.2})
    layer = scorer_of(config)
    tokens, vectors, biases = inputs(3)
    shares = [1.0, 0.0, 0.0] if structure == "residual" else [1 / 3] * 3
    expected = np.einsum("pkd,id->pki", tokens, vectors) / 0.2 + np.array(shares)[:, None] * biases
    np.testing.assert_allclose(by_grid(layer, tokens, vectors, biases), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize(("tokens", "vectors"), [(1, 1), (4, 1), (4, 2), (6, 2), (3, 3)])
def test_the_shares_of_a_bias_add_up_to_one(structure, tokens, vectors):
    quantizer = {"num_query_tokens": tokens, "num_vectors": vectors}
    layer = scorer_of(small_config(structure, quantizer=quantizer, scorer={"kind": "none", "inner_product": True}))
    shares = layer.linear_own(tf.zeros([1, tokens, 8]), tf.zeros([1, 1, 8]), tf.ones([1, 1]))[0, :, 0].numpy()
    assert shares.sum() == pytest.approx(1.0)
    levels = tokens // vectors if structure == "residual" else 1
    np.testing.assert_allclose(shares[::levels], levels / tokens, rtol=1e-6)  # the first level of each vector


@pytest.mark.parametrize("kind", KINDS)
def test_no_queries_and_no_items(kind):
    layer = scorer_of(small_config(scorer={"kind": kind}))
    tokens, vectors, biases = inputs(3)
    for queries, width in ((0, 2), (2, 0)):
        own = vectors[np.zeros((queries, width), int)]
        found = layer.linear_own(tokens[:queries], own, own[..., 0]) + layer.interaction_own(tokens[:queries], own)
        assert found.shape == (queries, 3, width)
    nothing = layer.code_parts(tokens[:0, 0], np.zeros(0, np.int32))
    assert layer.pairs(nothing, layer.item_parts(vectors, biases)).shape == (0, ITEMS)
