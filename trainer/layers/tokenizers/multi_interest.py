"""ComiRec-SA: V attentions over one history."""

from __future__ import annotations

import tensorflow as tf

from trainer.layers.tokenizers.attention import masked_softmax, prefix_mask
from trainer.layers.tokenizers.base import Tokenizer
from trainer.layers.tokenizers.dropout import StatelessDropout


class MultiInterestTokenizer(Tokenizer):
    """ComiRec-SA (Cen et al. 2020): each query vector is a mean of events under an attention of its own.

        a_s    = W2 tanh( W1 (h_s + p_s) )                      V logits an event, by 4 D hidden units
        u_tv   = sum_s softmax_s(a_sv) h_s                      s <= t and present

    Logits do not depend on t, but a softmax made of running sums would underflow where later logits
    are far greater: each position has a softmax of its own, in B T T V numbers.

    Args: see Tokenizer.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.positions = self.position_weights()
        self.hidden = tf.keras.layers.Dense(4 * self.config.dim, activation="tanh", use_bias=False)
        self.logits = tf.keras.layers.Dense(self.num_vectors, use_bias=False)
        self.attention_dropout = StatelessDropout(self.config.dropout, seed=200)

    def vectors(self, events: tf.Tensor, present: tf.Tensor, step: tf.Tensor | None) -> tf.Tensor:
        """See Tokenizer."""
        events = self.dropout(events, step)
        logits = self.logits(self.hidden(events + self.positions[-tf.shape(events)[1] :]))  # [B, T, V]
        weights = masked_softmax(tf.transpose(logits, [0, 2, 1])[:, :, None], prefix_mask(present)[:, None])
        vectors = tf.matmul(self.attention_dropout(weights, step), events[:, None])  # [B, V, T, D]
        return tf.transpose(vectors, [0, 2, 1, 3])
