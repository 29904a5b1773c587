"""CrossNet over the query token and the item."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.layers.scorers.base import Costs, Interaction, by_slot, pair_sums


class Part(NamedTuple):
    """Of codes or of items, with the letters of CrossNet.

    Attributes:
      entries: `[..., 2r]`, e or f.
      gain: `[..., 2r]`, alpha or beta.
      last: `[..., 2r]`, y or z.
      own: `[...]`, the share of (w * b_{L-1}) . x_0.
    """

    entries: tf.Tensor
    gain: tf.Tensor
    last: tf.Tensor
    own: tf.Tensor


class CrossNet(Interaction):
    """The cross network of DCN-v2 (Wang et al., WWW 2021), L layers on x_0 of width 2r.

        x_0     = [A_slot q; V c]                 both of width r
        x_{l+1} = x_0 * (W_l x_l + b_l) + x_l     l = 0 .. L - 1
        S_int   = w . x_L

    Both ends are linear in x_0 and split into a term of the code and one of the item. With
    e = [A_slot q; 1] and f = [1; V c], x_0 = e * f, and

        x_1   = e * f * (alpha + beta)            alpha + beta = W_0 x_0 + b_0 + 1
        S_int = (y + z) . x_{L-1} + (w * b_{L-1}) . x_0,      y + z = W_{L-1}^T (w * x_0) + w

    where a single layer has y = w, z = 0 and x_1 in the place of x_{L-1}. So up to two layers cost
    a pair one inner product, [e alpha y, e alpha, e y, e] . [f, f z, f beta, f beta z] of width
    8r; only layers between the first and the last are computed pair by pair. The item is one token
    here, not K_c.

    Args: see Interaction.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        width, layers = 2 * self.config.product_dim, self.config.num_layers
        self.query_kernel = self.slot_kernel("query", self.config.product_dim)
        self.item_kernel = self.kernel("item", self.dim, self.config.product_dim)
        self.layer_kernels = [self.kernel(f"layer_{n}", width, width) for n in range(layers)]
        self.biases = [self.bias(f"bias_{n}", width) for n in range(layers)]
        self.output_weights = self.kernel("output", width)

    def code_part(self, codewords: tf.Tensor, slots: tf.Tensor) -> Part:
        """See Interaction."""
        entries = by_slot(self.scaled(codewords), slots, self.query_kernel)
        gain, last, own = self._ends(entries, slice(None, self.config.product_dim))
        padded = tf.concat([entries, tf.ones_like(entries)], -1)
        return Part(padded, gain + (self.biases[0] + 1.0), last + self.output_weights, own)

    def item_part(self, items: tf.Tensor) -> Part:
        """See Interaction."""
        entries = tf.matmul(self.scaled(items), self.item_kernel)
        padded = tf.concat([tf.ones_like(entries), entries], -1)
        return Part(padded, *self._ends(entries, slice(self.config.product_dim, None)))

    def _ends(self, entries: tf.Tensor, half: slice) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Shares of W_0 x_0, W_{L-1}^T (w * x_0) and (w * b_{L-1}) . x_0 of one half of x_0, `[..., r]`."""
        first = tf.matmul(entries, self.layer_kernels[0][:, half], transpose_b=True)
        if self.config.num_layers == 1:
            return first, tf.zeros_like(first), tf.zeros_like(first[:, 0])
        weighted = entries * self.output_weights[half]
        last = tf.matmul(weighted, self.layer_kernels[-1][half])
        return first, last, tf.linalg.matvec(weighted, self.biases[-1][half])

    def pairs(self, codes: Part, items: Part) -> tf.Tensor:
        """See Interaction."""
        own = codes.own[:, None] + items.own
        if self.config.num_layers > 2:
            entries = tf.transpose(codes.entries)[:, :, None] * tf.transpose(items.entries)[:, None]  # [2r, C, I]
            gain, last = pair_sums(codes.gain, items.gain), pair_sums(codes.last, items.last)
            flat = [tf.reshape(part, [2 * self.config.product_dim, -1]) for part in (entries, gain, last)]
            return tf.reshape(self._crossed(*flat), tf.shape(own)) + own
        e, alpha, y, _ = codes
        f, beta, z, _ = items
        left = tf.concat([e * alpha * y, e * alpha, e * y, e], -1)
        right = tf.concat([f, f * z, f * beta, f * beta * z], -1)
        return tf.matmul(left, right, transpose_b=True) + own

    def aligned(self, codes: Part, items: Part) -> tf.Tensor:
        """See Interaction."""
        parts = codes.entries * items.entries, codes.gain + items.gain, codes.last + items.last
        return self._crossed(*(tf.transpose(part) for part in parts)) + codes.own + items.own

    def _crossed(self, entries: tf.Tensor, gain: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
        """(y + z) . x_{L-1} `[P]` by x_0, alpha + beta and y + z, all `[2r, P]`."""
        crossed = entries * gain
        for kernel, bias in zip(self.layer_kernels[1:-1], self.biases[1:-1], strict=True):
            crossed += entries * (tf.matmul(kernel, crossed) + bias[:, None])
        return tf.reduce_sum(crossed * last, 0)

    def costs(self) -> Costs:
        """See Interaction."""
        dim, width, layers = self.dim, 2 * self.config.product_dim, self.config.num_layers
        half, between = width // 2, max(layers - 2, 0)
        ends = 2 * half * width + (half + 2 * half * width + 2 * half if layers > 1 else 0)
        if between:
            products, pair = 0, 6 * width + between * (2 * width * width + 3 * width) + 2
        else:
            products, pair = 4 * width, 8 * width + 2
        return Costs(
            per_code=dim + self.slot_cost(half) + ends + 2 * width + products,
            per_item=dim + 2 * dim * half + ends + products,
            per_pair=pair,
        )
