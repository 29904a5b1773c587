"""The split scorer equals the MLP written out on one pair at a time."""

import numpy as np
import tensorflow as tf

from trainer.config import ScorerConfig
from trainer.layers.scorers import HybridScorer

CONFIG = ScorerConfig(num_item_tokens=3, product_dim=4, hidden=5)
DIM, SLOTS = 6, 2


def one_pair(layer: HybridScorer, codeword: np.ndarray, slot: int, item: np.ndarray) -> float:
    """The equations of the docstring, with the layer's own weights, in float64."""
    q, c = codeword.astype(np.float64) * DIM**0.5, item.astype(np.float64) * DIM**0.5
    hidden = q @ layer.query_offset_kernel.numpy()[slot] + c @ layer.item_offset_kernel.numpy()
    hidden = hidden + layer.hidden_bias.numpy()
    width = CONFIG.product_dim
    for j in range(CONFIG.num_item_tokens):
        columns = slice(j * width, (j + 1) * width)
        projected = q @ layer.query_products_kernel.numpy()[:, columns]
        product = projected * (c @ layer.item_tokens_kernel.numpy()[:, columns])
        hidden = hidden + layer.mix_kernel.numpy()[:, columns] @ product
    return float(np.maximum(hidden, 0) @ layer.output_kernel.numpy())


def test_pairs_and_aligned_equal_one_pair_at_a_time():
    layer = HybridScorer(CONFIG, SLOTS, DIM)
    rng = np.random.default_rng(0)
    codewords = rng.normal(size=(7, DIM)).astype(np.float32)
    items = rng.normal(size=(7, DIM)).astype(np.float32)
    slots = rng.integers(0, SLOTS, 7).astype(np.int32)
    codes, parts = layer.code_part(tf.constant(codewords), tf.constant(slots)), layer.item_part(tf.constant(items))
    expected = np.array([[one_pair(layer, q, s, c) for c in items] for q, s in zip(codewords, slots, strict=True)])
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(layer.pairs(codes, parts), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.aligned(codes, parts), np.diag(expected), rtol=1e-4, atol=1e-5)
