"""The scorer: S(q, c) of a quantised query token and an item, split so that little is done per pair."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.config import ScorerConfig


class CodePart(NamedTuple):
    """What the scorer needs of C codes: `products [C, K]` (P_j q of all j), `offset [C, H]` (A q + b1)."""

    products: tf.Tensor
    offset: tf.Tensor


class ItemPart(NamedTuple):
    """What the scorer needs of I items: `products [I, K]` (V_j c of all j), `offset [I, H]` (B c)."""

    products: tf.Tensor
    offset: tf.Tensor


class HybridScorer(tf.keras.layers.Layer):
    """The interaction of the hybrid scorer: an MLP over products of query token and K_c item tokens.

        g_j = (P_j q) * (V_j c)          products, K_c vectors of width r      (j = 1 .. K_c)
        h   = relu(A_slot q + B c + sum_j W_j g_j + b1)                         H units
        mlp = w . h

    The first layer is never computed on the concatenation: `A q` is made once a code and `B c` once
    an item, and W_j (P_j q * V_j c) = (W_j diag(P_j q)) (V_j c) is, for all pairs together, one
    matrix product of inner size K = K_c r. The inner product q . c itself is the model's, which
    adds it to this (see SparCode.score).

    A pair costs 2 H K + 3 H FLOPs; a code 2 (D H + D K + H K); an item 2 (D K + D H).

    Args:
      config: sizes; `hidden` must be at least 1.
      num_slots: token slots; each has its own A.
      dim: D of query tokens and items.
    """

    def __init__(self, config: ScorerConfig, num_slots: int, dim: int, **kwargs) -> None:
        super().__init__(**kwargs)
        # Codewords and items are about unit length; scaled so, their entries are about 1.
        self.config, self.scale = config, dim**0.5
        self.inner = config.num_item_tokens * config.product_dim
        weights = {
            "query_products": (dim, self.inner),
            "item_tokens": (dim, self.inner),
            "mix": (config.hidden, self.inner),
            "query_offset": (num_slots, dim, config.hidden),
            "item_offset": (dim, config.hidden),
            "output": (config.hidden,),
        }
        for name, shape in weights.items():
            # One initializer each: Keras gives equal values to weights that share one.
            initializer = tf.keras.initializers.RandomNormal(stddev=0.1)
            setattr(self, f"{name}_kernel", self.add_weight(name=name, shape=shape, initializer=initializer))
        self.hidden_bias = self.add_weight(name="hidden_bias", shape=(config.hidden,), initializer="zeros")

    def code_part(self, codewords: tf.Tensor, slots: tf.Tensor) -> CodePart:
        """The part of codewords `[C, D]` in slots `[C]`."""
        codewords *= self.scale
        products = tf.matmul(codewords, self.query_products_kernel)
        offsets = tf.einsum("cd,sdh->sch", codewords, self.query_offset_kernel)
        rows = tf.stack([slots, tf.range(tf.shape(slots)[0])], -1)
        return CodePart(products, tf.gather_nd(offsets, rows) + self.hidden_bias)

    def item_part(self, items: tf.Tensor) -> ItemPart:
        """The part of item vectors `[I, D]`."""
        items *= self.scale
        return ItemPart(tf.matmul(items, self.item_tokens_kernel), tf.matmul(items, self.item_offset_kernel))

    def pairs(self, codes: CodePart, items: ItemPart) -> tf.Tensor:
        """The MLP of all pairs: `[C, I]`."""
        num_codes, num_items = tf.shape(codes.offset)[0], tf.shape(items.offset)[0]
        first = tf.reshape(codes.products[:, None, :] * self.mix_kernel, [-1, self.inner])
        hidden = tf.reshape(tf.matmul(first, items.products, transpose_b=True), [num_codes, -1, num_items])
        hidden += codes.offset[:, :, None] + tf.transpose(items.offset)[None]
        return tf.einsum("chi,h->ci", tf.nn.relu(hidden), self.output_kernel)

    def aligned(self, codes: CodePart, items: ItemPart) -> tf.Tensor:
        """The MLP of code p with item p: `[P]`."""
        hidden = tf.matmul(codes.products * items.products, self.mix_kernel, transpose_b=True)
        hidden += codes.offset + items.offset
        return tf.linalg.matvec(tf.nn.relu(hidden), self.output_kernel)
