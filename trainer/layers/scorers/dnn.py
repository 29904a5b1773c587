"""An MLP on the concatenation of query token and item tokens."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.layers.scorers.base import Costs, Interaction, by_slot, pair_sums


class Part(NamedTuple):
    """Of codes or of items: `hidden [..., H]`, their share of the first layer before its ReLU."""

    hidden: tf.Tensor


class DeepScorer(Interaction):
    """An MLP of L hidden layers of H units on the concatenation of token and item tokens.

        h_1     = relu(W_slot [q; c_1; ..; c_Kc] + b_1)
        h_{l+1} = relu(W_l h_l + b_{l+1})                 l = 1 .. L - 1
        S_int   = w . h_L

    The item tokens are linear, c_j = V_j c, so the first layer is a sum, W_slot [q; c_1; ..] =
    A_slot q + B c with B = sum_j W_j V_j: the first term is made once a code, the second once an
    item. B is learned as it is, for which K_c makes no difference.

    Args: see Interaction.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        hidden, layers = self.config.hidden, self.config.num_layers
        self.query_layer = self.slot_kernel("query_layer", hidden)
        self.item_layer = self.kernel("item_layer", self.dim, hidden)
        # He et al. 2015: small weights would shrink the gradient with every layer.
        stddev = (2.0 / hidden) ** 0.5
        self.layer_kernels = [self.kernel(f"layer_{n}", hidden, hidden, stddev=stddev) for n in range(1, layers)]
        self.biases = [self.bias(f"bias_{n}", hidden) for n in range(layers)]
        self.output_weights = self.kernel("output", hidden)

    def code_part(self, codewords: tf.Tensor, slots: tf.Tensor) -> Part:
        """See Interaction."""
        return Part(by_slot(self.scaled(codewords), slots, self.query_layer) + self.biases[0])

    def item_part(self, items: tf.Tensor) -> Part:
        """See Interaction."""
        return Part(tf.matmul(self.scaled(items), self.item_layer))

    def pairs(self, codes: Part, items: Part) -> tf.Tensor:
        """See Interaction."""
        first = pair_sums(codes.hidden, items.hidden)
        return tf.reshape(self._deeper(tf.reshape(first, [self.config.hidden, -1])), tf.shape(first)[1:])

    def aligned(self, codes: Part, items: Part) -> tf.Tensor:
        """See Interaction."""
        return self._deeper(tf.transpose(codes.hidden + items.hidden))

    def _deeper(self, first: tf.Tensor) -> tf.Tensor:
        """S_int `[P]` of pairs by their first layer `[H, P]` before its ReLU."""
        hidden = tf.nn.relu(first)
        for kernel, bias in zip(self.layer_kernels, self.biases[1:], strict=True):
            hidden = tf.nn.relu(tf.matmul(kernel, hidden) + bias[:, None])
        return tf.tensordot(self.output_weights, hidden, 1)

    def costs(self) -> Costs:
        """See Interaction."""
        dim, hidden, layers = self.dim, self.config.hidden, self.config.num_layers
        return Costs(
            per_code=dim + self.slot_cost(hidden) + hidden,
            per_item=dim + 2 * dim * hidden,
            per_pair=4 * hidden + (layers - 1) * (2 * hidden * hidden + 2 * hidden),
        )
