"""Models over sequences of items: what SparCode and the two-tower baseline share, and SparCode."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from trainer.config import Config
from trainer.layers.quantizer import Quantized, VectorQuantizer
from trainer.layers.scorers import HybridScorer
from trainer.layers.tokenizers import PADDING, SelfAttentionTokenizer, with_start
from trainer.tasks import SampledSoftmax


class Negatives(NamedTuple):
    """Items shared as negatives by a batch: `rows [S]` and their sampling probability `[S]`."""

    rows: tf.Tensor
    probability: tf.Tensor


class SequenceModel(tfrs.Model):
    """A self-attentive encoder trained by sampled softmax at every position of a window.

    Subclasses say how a query vector is scored against items (`batch_scores`, `catalogue_scores`).

    Args:
      config: the whole configuration.
      item_counts: `[I]` interactions of each catalogue row in training.
    """

    def __init__(self, config: Config, item_counts: np.ndarray, **kwargs) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.num_items = len(item_counts)
        dim = config.tokenizer.dim
        self.item_embeddings = self.add_weight(
            name="item_embeddings",
            shape=(self.num_items + 1, dim),
            initializer=_normal(config.training.seed, dim**-0.5),
        )
        self.item_bias = self.add_weight(name="item_bias", shape=(self.num_items,), initializer="zeros")
        self.tokenizer = SelfAttentionTokenizer(config.tokenizer, config.data.max_history)
        self.task = SampledSoftmax(config.loss)
        self.step = self.add_weight(
            name="step",
            shape=(),
            dtype=tf.int64,
            initializer="zeros",
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self.loss_metric = tf.keras.metrics.Mean("mean_loss")
        self._popularity = (item_counts / max(item_counts.sum(), 1)).astype(np.float32)

    @property
    def start_row(self) -> int:
        """The row after the catalogue's last, which marks where a history begins."""
        return self.num_items

    def item_vectors(self, rows: tf.Tensor) -> tf.Tensor:
        """Unit vectors `[..., D]` of rows `[...]`."""
        return tf.math.l2_normalize(tf.gather(self.item_embeddings, rows), -1)

    def query_vectors(self, windows: tf.Tensor, step: tf.Tensor | None = None) -> tf.Tensor:
        """Unit query vectors after each event.

        Args:
          windows: `[B, T]` int32 rows, right-aligned, -1 is padding; T <= max_history.
          step: training step; None at inference.

        Returns:
          `[B, T, D]`.
        """
        events = with_start(windows, self.start_row)
        present = events != PADDING
        scale = self.config.tokenizer.dim**0.5
        vectors = self.item_vectors(tf.maximum(events, 0)) * scale * tf.cast(present, tf.float32)[..., None]
        return tf.math.l2_normalize(self.tokenizer(vectors, present, step), -1)

    def last_query_vectors(self, windows: tf.Tensor) -> tf.Tensor:
        """Unit query vectors `[B, D]` of whole histories `[B, T]`."""
        return self.query_vectors(windows)[:, -1]

    def sample_negatives(self, positives: tf.Tensor, step: tf.Tensor) -> Negatives:
        """Draws the batch's negatives: some of its positives `[P]`, some of the whole catalogue."""
        loss = self.config.loss
        seed = tf.stack([tf.constant(self.config.training.seed, tf.int64), step])
        picks = tf.random.stateless_uniform(
            [loss.in_batch_negatives], seed, 0, tf.maximum(tf.size(positives), 1), tf.int32
        )
        uniform = tf.random.stateless_uniform([loss.uniform_negatives], seed + 1, 0, self.num_items, tf.int32)
        rows = tf.concat([tf.gather(positives, picks), uniform], 0)
        share = loss.in_batch_negatives / loss.num_negatives
        probability = share * tf.gather(self._popularity, rows) + (1.0 - share) / self.num_items
        return Negatives(rows, probability)

    def batch_scores(
        self, queries: tf.Tensor, positives: tf.Tensor, negatives: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Quantized | None]:
        """Scores of queries `[P, D]`: own positive `[P]`, negatives `[P, S]`, extra loss `[P]`, quantised."""
        raise NotImplementedError

    def catalogue_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """Scores `[B, I]` of every item for histories `[B, T]`."""
        raise NotImplementedError

    def compute_loss(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Mean loss over the events of windows `[B, T + 1]`, each predicted from those before it."""
        return self._loss_and_codes(inputs, training)[0]

    def _loss_and_codes(self, windows: tf.Tensor, training: bool) -> tuple[tf.Tensor, Quantized | None]:
        step = self.step.read_value()
        targets = windows[:, 1:]
        valid = targets != PADDING
        vectors = self.query_vectors(windows[:, :-1], step if training else None)
        # Padding is most of a window of a short history; it is cut before the dear part.
        queries, positives = tf.boolean_mask(vectors, valid), tf.boolean_mask(targets, valid)
        negatives = self.sample_negatives(positives, step)
        positive_scores, negative_scores, extra, quantized = self.batch_scores(queries, positives, negatives.rows)
        loss = self.task(
            positive_scores,
            negative_scores,
            accidental_hits=positives[:, None] == negatives.rows,
            sampling_probability=negatives.probability,
            sample_weight=tf.ones_like(positive_scores),
        )
        return loss + tf.math.divide_no_nan(tf.reduce_sum(extra), tf.cast(tf.size(extra), tf.float32)), quantized

    def train_step(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """One gradient step, then one step of the codebooks' moving averages."""
        with tf.GradientTape() as tape:
            loss, quantized = self._loss_and_codes(inputs, training=True)
        variables = self.trainable_variables
        # Before the codebooks exist the MLP has no part in the loss: its gradients are None.
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if quantized is not None:
            self.update_codes(quantized)
        self.step.assign_add(1)
        self.loss_metric.update_state(loss)
        return {"loss": self.loss_metric.result()}

    def update_codes(self, quantized: Quantized) -> None:
        """Hook for models with codebooks."""

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Metrics that Keras resets at every epoch."""
        return [self.loss_metric]


class SparCode(SequenceModel):
    """SparCode (Su et al., SIGIR 2023): codes for queries, an expressive scorer for (code, item) pairs.

        f(q, c) = sum_i relu( S(q_i, c) + b )                       i = 1 .. K_u
        S(q_i, c) = <q_i, v_c> / temperature + share_slot * bias_c + mlp_slot(q_i, c)

    q_i are the codewords of the query's tokens and v_c is the item's unit vector. The item's bias
    is in the first slot (`residual`) or spread over the tokens (`product`). Training scores each
    distinct code of the batch against the negatives once and gathers; the straight-through gradient
    reaches the encoder through the inner product.

    Args: see SequenceModel.
    """

    def __init__(self, config: Config, item_counts: np.ndarray, **kwargs) -> None:
        super().__init__(config, item_counts, **kwargs)
        quantizer, dim = config.quantizer, config.tokenizer.dim
        self.quantizer = VectorQuantizer(quantizer, dim, seed=config.training.seed)
        self.bias = self.add_weight(
            name="bias", shape=(), initializer=tf.keras.initializers.Constant(config.scorer.initial_bias)
        )
        self.interaction = HybridScorer(config.scorer, quantizer.num_slots, dim) if config.scorer.hidden else None
        self.heads = (
            tf.keras.layers.Dense(quantizer.num_query_tokens * dim, use_bias=False)
            if quantizer.structure == "product"
            else None
        )
        if quantizer.structure == "residual":
            self._bias_share = tf.one_hot(0, quantizer.num_slots)
        else:
            self._bias_share = tf.fill([quantizer.num_slots], 1.0 / quantizer.num_query_tokens)

    def quantize(self, queries: tf.Tensor) -> Quantized:
        """Tokens and codes of query vectors `[P, D]`."""
        if self.heads is None:
            return self.quantizer(queries)
        config = self.config
        tokens = tf.reshape(self.heads(queries), [-1, config.quantizer.num_query_tokens, config.tokenizer.dim])
        return self.quantizer(tf.math.l2_normalize(tokens, -1))

    def score_codes(self, keys: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
        """S of code keys `[C]` int64 and catalogue rows `[I]` int32, before bias and ReLU: `[C, I]`."""
        codewords, slots = self.quantizer.codewords_of(keys)
        vectors = self.item_vectors(items)
        scores = tf.matmul(codewords, vectors, transpose_b=True) / self.config.scorer.temperature
        scores += tf.gather(self._bias_share, slots)[:, None] * tf.gather(self.item_bias, items)
        return scores + self._interactions(codewords, slots, vectors)

    def _interactions(self, codewords: tf.Tensor, slots: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
        if self.interaction is None:
            return tf.zeros([tf.shape(codewords)[0], tf.shape(vectors)[0]])
        codes = self.interaction.code_part(codewords, slots)
        return self.interaction.pairs(codes, self.interaction.item_part(vectors))

    def batch_scores(
        self, queries: tf.Tensor, positives: tf.Tensor, negatives: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, Quantized | None]:
        """See SequenceModel; the extra loss is the commitment."""
        quantized = self.quantize(queries)
        positive = self._aligned_scores(quantized, positives)
        negative = self._shared_scores(quantized, negatives)
        extra = self.config.quantizer.commit_weight * self.quantizer.commitment(quantized)
        return positive, negative, extra, quantized

    @property
    def _token_slots(self) -> np.ndarray:
        quantizer = self.config.quantizer
        return np.arange(quantizer.num_query_tokens, dtype=np.int32) % quantizer.num_slots

    def _aligned_scores(self, quantized: Quantized, items: tf.Tensor) -> tf.Tensor:
        """f of query p with item p: `[P]`."""
        vectors = self.item_vectors(items)
        scores = tf.einsum("pkd,pd->pk", quantized.output, vectors) / self.config.scorer.temperature
        scores += tf.gather(self._bias_share, self._token_slots) * tf.gather(self.item_bias, items)[:, None]
        if self.interaction is not None:
            scores += self._aligned_interactions(quantized, vectors)
        return tf.reduce_sum(tf.nn.relu(scores + self.bias), -1)

    def _aligned_interactions(self, quantized: Quantized, vectors: tf.Tensor) -> tf.Tensor:
        config = self.config
        tokens = config.quantizer.num_query_tokens
        codewords = tf.reshape(quantized.codewords, [-1, config.tokenizer.dim])
        slots = tf.tile(self._token_slots, [tf.shape(vectors)[0]])
        codes = self.interaction.code_part(codewords, slots)
        items = self.interaction.item_part(vectors)
        items = type(items)(*(tf.repeat(part, tokens, axis=0) for part in items))
        scores = tf.reshape(self.interaction.aligned(codes, items), [-1, tokens])
        return tf.where(self.quantizer.active, scores, tf.zeros_like(scores))

    def _shared_scores(self, quantized: Quantized, items: tf.Tensor) -> tf.Tensor:
        """f of every query with every one of S items: `[P, S]`."""
        vectors = self.item_vectors(items)
        biases = tf.gather(self.item_bias, items)
        table, places = self._distinct_interactions(quantized, vectors)
        total = 0.0
        for token, slot in enumerate(self._token_slots):
            scores = tf.matmul(quantized.output[:, token], vectors, transpose_b=True) / self.config.scorer.temperature
            scores += self._bias_share[slot] * biases + self.bias
            if table is not None:
                scores += tf.gather(table, places[:, token])
            total += tf.nn.relu(scores)
        return total

    def _distinct_interactions(
        self, quantized: Quantized, vectors: tf.Tensor
    ) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """MLP scores `[C, S]` of the distinct codes of the batch, and where each token's row is `[P, K_u]`."""
        if self.interaction is None:
            return None, None
        keys, places = tf.unique(tf.reshape(quantized.keys, [-1]))
        codewords, slots = self.quantizer.codewords_of(keys)
        table = tf.cond(
            self.quantizer.active,
            lambda: self._interactions(codewords, slots, vectors),
            lambda: tf.zeros([tf.shape(keys)[0], tf.shape(vectors)[0]]),
        )
        return table, tf.reshape(places, tf.shape(quantized.keys))

    def update_codes(self, quantized: Quantized) -> None:
        """One step of the codebooks' moving averages."""
        self.quantizer.update(quantized, tf.ones(tf.shape(quantized.keys)[0], tf.bool), self.step.read_value())

    def catalogue_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """f of every item, unpruned: `[B, I]`; before the codebooks exist, of the unquantised tokens."""
        quantized = self.quantize(self.last_query_vectors(windows))
        return tf.cond(
            self.quantizer.active,
            lambda: self.table_scores(quantized.keys),
            lambda: self._shared_scores(quantized, tf.range(self.num_items)),
        )

    def table_scores(self, keys: tf.Tensor) -> tf.Tensor:
        """f `[B, I]` of queries by their code keys `[B, K_u]`, the same sum that is served."""
        distinct, places = tf.unique(tf.reshape(keys, [-1]))
        table = tf.nn.relu(self.score_codes(distinct, tf.range(self.num_items)) + self.bias)
        places = tf.reshape(places, tf.shape(keys))
        return tf.add_n([tf.gather(table, places[:, token]) for token in range(keys.shape[1])])


def _normal(seed: int, stddev: float) -> tf.keras.initializers.Initializer:
    return tf.keras.initializers.RandomNormal(stddev=stddev, seed=seed)
