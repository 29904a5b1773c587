"""MIND and ComiRec-DR: dynamic routing of events to V capsules."""

from __future__ import annotations

import tensorflow as tf

from trainer.layers.tokenizers.attention import prefix_mask
from trainer.layers.tokenizers.base import Tokenizer
from trainer.layers.tokenizers.feed_forward import FeedForward


def squash(capsules: tf.Tensor) -> tf.Tensor:
    """|z|^2 / (1 + |z|^2) * z / |z| of capsules `[..., D]`; 0 of 0."""
    square = tf.reduce_sum(capsules**2, -1, keepdims=True)
    return capsules * square * tf.math.rsqrt(square + 1e-12) / (1.0 + square)


class CapsuleTokenizer(Tokenizer):
    """Dynamic routing (MIND, Li et al. 2019; ComiRec-DR, Cen et al. 2020) over the prefix of each position t.

        e_sv = S_v h_s                                          what event s says to capsule v
        b_sv = 0, then `config.routing_iterations` times:
            w_sv = softmax_v(b_sv)                              s <= t and present, else 0
            u_v  = squash( sum_s w_sv e_sv )
            b_sv <- b_sv + <u_v, e_sv>
        vector of v = MLP(u_v)                                  one ReLU layer, as in MIND

    As in ComiRec-DR, each capsule has a map S_v and logits start at 0. MIND's one map for all capsules
    needs random logits to tell them apart; then which interest lands in which capsule is chance, but the
    quantizer has codebooks for each. All positions are routed at once, in B T T V numbers.

    Args: see Tokenizer.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        dim = self.config.dim
        # Events are about sqrt(D) long. These maps make them unit length, where neither squash nor softmax saturates.
        self.maps = self.add_weight(
            name="maps",
            shape=(self.num_vectors, dim, dim),
            initializer=tf.keras.initializers.RandomNormal(stddev=1 / dim),
        )
        self.feed_forward = FeedForward(self.config, num_layers=1)

    def vectors(self, events: tf.Tensor, present: tf.Tensor, step: tf.Tensor | None) -> tf.Tensor:
        """See Tokenizer."""
        messages = tf.einsum("bsd,vde->bvse", self.dropout(events, step), self.maps)
        capsules = self._route(messages, prefix_mask(present)[:, None])
        return self.feed_forward(tf.transpose(capsules, [0, 2, 1, 3]), step)

    def _route(self, messages: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Capsules `[B, V, T, D]` of messages e `[B, V, T, D]` and mask `[B, 1, T, T]`."""
        # As in the authors' code, the routing itself is taken as given by the gradient.
        given = tf.stop_gradient(messages)
        weights = tf.repeat(mask / self.num_vectors, self.num_vectors, axis=1)
        logits = tf.zeros_like(weights)
        for _ in range(self.config.routing_iterations - 1):
            logits += tf.matmul(squash(tf.matmul(weights, given)), given, transpose_b=True)
            weights = tf.nn.softmax(logits, axis=1) * mask
        return squash(tf.matmul(weights, messages))
