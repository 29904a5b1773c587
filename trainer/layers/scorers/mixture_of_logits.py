"""A mixture of logits: low-rank inner products, gated pair by pair."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from trainer.layers.scorers.base import Costs, Interaction, by_slot, pair_sums, softmax_mean


class Part(NamedTuple):
    """Of codes or of items: `components [..., P, r]` of unit length, `gate [..., P^2]`."""

    components: tf.Tensor
    gate: tf.Tensor


class MixtureOfLogits(Interaction):
    """Mixture of logits (Zhai et al., KDD 2023; Ding and Zhai, WWW 2025), with P = K_c on both sides.

        f_p   = A_slot,p q / |A_slot,p q|,  g_k = V_k c / |V_k c|       vectors of width r
        l_pk  = <f_p, g_k>                                              P^2 component logits
        gate  = Q_slot q + R c + W_2 relu(W_1 l + b)                    with H hidden units
        S_int = exp(t) sum_pk softmax(gate)_pk l_pk

    The components and the gate's first two terms are made once a code and once an item. The logits
    are cosines, so the scale exp(t) is learned; t starts at 0.

    Args: see Interaction.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        logits, hidden = self.config.num_item_tokens**2, self.config.hidden
        self.query_components = self.slot_kernel("query_components", self.token_dim)
        self.item_components = self.kernel("item_components", self.dim, self.token_dim)
        self.query_gate = self.slot_kernel("query_gate", logits)
        self.item_gate = self.kernel("item_gate", self.dim, logits)
        self.gate_hidden = self.kernel("gate_hidden", hidden, logits)
        self.gate_bias = self.bias("gate_bias", hidden)
        self.gate_output = self.kernel("gate_output", logits, hidden)
        self.log_scale = self.bias("log_scale", 1)

    def code_part(self, codewords: tf.Tensor, slots: tf.Tensor) -> Part:
        """See Interaction."""
        tokens = self.scaled(codewords)
        components = by_slot(tokens, slots, self.query_components)
        return Part(self._unit(components), by_slot(tokens, slots, self.query_gate))

    def item_part(self, items: tf.Tensor) -> Part:
        """See Interaction."""
        items = self.scaled(items)
        return Part(self._unit(tf.matmul(items, self.item_components)), tf.matmul(items, self.item_gate))

    def _unit(self, components: tf.Tensor) -> tf.Tensor:
        shape = [-1, self.config.num_item_tokens, self.config.product_dim]
        return tf.math.l2_normalize(tf.reshape(components, shape), -1)

    def pairs(self, codes: Part, items: Part) -> tf.Tensor:
        """See Interaction."""
        gate = pair_sums(codes.gate, items.gate)  # [P^2, C, I]
        left = tf.transpose(codes.components, [1, 0, 2])[:, None]
        logits = tf.matmul(left, tf.transpose(items.components, [1, 2, 0]))  # [P, P, C, I]
        flat = [self.config.num_item_tokens**2, -1]
        return tf.reshape(self._mixed(tf.reshape(logits, flat), tf.reshape(gate, flat)), tf.shape(gate)[1:])

    def aligned(self, codes: Part, items: Part) -> tf.Tensor:
        """See Interaction."""
        logits = tf.matmul(codes.components, items.components, transpose_b=True)
        logits = tf.reshape(logits, tf.shape(codes.gate))
        return self._mixed(tf.transpose(logits), tf.transpose(codes.gate + items.gate))

    def _mixed(self, logits: tf.Tensor, gate: tf.Tensor) -> tf.Tensor:
        """S_int `[N]` of pairs by their component logits and the split part of their gate, both `[P^2, N]`."""
        hidden = tf.nn.relu(tf.matmul(self.gate_hidden, logits) + self.gate_bias[:, None])
        gate += tf.matmul(self.gate_output, hidden)
        return tf.exp(self.log_scale) * softmax_mean(gate, logits)

    def costs(self) -> Costs:
        """See Interaction."""
        dim, inner, tokens, hidden = self.dim, self.token_dim, self.config.num_item_tokens, self.config.hidden
        logits = tokens**2
        unit = 3 * inner + 2 * tokens
        return Costs(
            per_code=dim + self.slot_cost(inner + logits) + unit,
            per_item=dim + 2 * dim * (inner + logits) + unit,
            per_pair=2 * logits * (self.config.product_dim + 2 * hidden) + 2 * hidden + 8 * logits + 2,
        )
