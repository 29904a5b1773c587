"""What every interaction is: a part made once a code, a part made once an item, and what is left for a pair."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from trainer.config import ScorerConfig


class Costs(NamedTuple):
    """FLOPs of an interaction: C codes and I items cost C per_code + I per_item + C I per_pair.

    A multiply-add is 2 FLOPs; any other operation on one number (an addition, a maximum, an
    exponential) is 1. What `pairs` does once a code is in `per_code`. A token is multiplied by the
    matrices of all slots, of which one is kept, and all are counted.
    """

    per_code: int
    per_item: int
    per_pair: int


class Interaction(tf.keras.layers.Layer, abc.ABC):
    """The term S_int(q, c) that a model adds to the inner product of a query token and an item.

    Args:
      config: sizes.
      num_slots: token slots; each has its own A_slot.
      dim: D of query tokens and items.
    """

    def __init__(self, config: ScorerConfig, num_slots: int, dim: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.config, self.num_slots, self.dim = config, num_slots, dim

    @abc.abstractmethod
    def code_part(self, codewords: tf.Tensor, slots: tf.Tensor) -> NamedTuple:
        """What is made once of codewords `[C, D]` in slots `[C]` int32: tensors `[C, ...]`."""

    @abc.abstractmethod
    def item_part(self, items: tf.Tensor) -> NamedTuple:
        """What is made once of item vectors `[I, D]`: tensors `[I, ...]`."""

    @abc.abstractmethod
    def pairs(self, codes: NamedTuple, items: NamedTuple) -> tf.Tensor:
        """S_int of every code with every item: `[C, I]`."""

    @abc.abstractmethod
    def aligned(self, codes: NamedTuple, items: NamedTuple) -> tf.Tensor:
        """S_int of code p with item p: `[P]`."""

    @abc.abstractmethod
    def costs(self) -> Costs:
        """FLOPs of `code_part`, `item_part` and `pairs`."""

    @property
    def token_dim(self) -> int:
        """K = K_c r, the width of an item's tokens together."""
        return self.config.num_item_tokens * self.config.product_dim

    def kernel(self, name: str, *shape: int, stddev: float = 0.1) -> tf.Variable:
        """A weight of random normal values; small, so that the interaction starts small beside the inner product."""
        # One initializer each: Keras gives equal values to weights that share one.
        return self.add_weight(name, shape, initializer=tf.keras.initializers.RandomNormal(stddev=stddev))

    def slot_kernel(self, name: str, width: int, stddev: float = 0.1) -> tf.Variable:
        """A matrix A_slot for each slot: `[slots, D, width]`."""
        return self.kernel(name, self.num_slots, self.dim, width, stddev=stddev)

    def bias(self, name: str, width: int) -> tf.Variable:
        """A weight `[width]` that starts at 0."""
        return self.add_weight(name, (width,), initializer="zeros")

    def scaled(self, vectors: tf.Tensor) -> tf.Tensor:
        """Codewords and items are about unit length; times sqrt(D), their entries are about 1."""
        return vectors * self.dim**0.5

    def slot_cost(self, width: int) -> int:
        """FLOPs of `by_slot` for one token."""
        return 2 * self.num_slots * self.dim * width


def by_slot(tokens: tf.Tensor, slots: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A_slot q of tokens `[C, D]` in slots `[C]`, by a kernel `[slots, D, W]`: `[C, W]`."""
    # Few slots: multiplying by all of them is cheaper than gathering a matrix for every token.
    products = tf.matmul(tokens, kernel)
    return tf.gather_nd(products, tf.stack([slots, tf.range(tf.shape(slots)[0])], -1))


def pair_sums(codes: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """Sums of rows `[C, W]` and rows `[I, W]` for all pairs: `[W, C, I]`.

    The units come first: a layer above is then one matrix product `[V, W] x [W, C I]` with long rows.
    """
    return tf.transpose(codes)[:, :, None] + tf.transpose(items)[:, None]


@tf.custom_gradient
def softmax_mean(logits: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """The mean of values `[J, ...]`, weighted by a softmax of logits `[J, ...]` over J."""
    # Not tf.nn.softmax, which moves J to the end and back; and its gradient in few passes over all pairs.
    weights = tf.exp(logits - tf.reduce_max(logits, 0))
    total = tf.reduce_sum(weights, 0)
    mean = tf.reduce_sum(weights * values, 0) / total

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        shares = weights * (upstream / total)
        return shares * (values - mean), shares

    return mean, gradient
