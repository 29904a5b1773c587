"""What all models over sequences of items share: item vectors, the encoder, negatives, the training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from trainer.config import Config
from trainer.data.features import NO_COLUMNS, Columns, FeatureColumns
from trainer.data.histories import Histories
from trainer.data.prepared import REMOVED
from trainer.features import FeatureTable, RowFeatures, fit_features
from trainer.layers import precision, replicas
from trainer.layers.quantized import Quantized
from trainer.layers.tokenizers import PADDING, make_tokenizer, with_start
from trainer.tasks import SampledSoftmax
from trainer.windows import events_of, pad_histories, pad_with_context, rows_of, users_of

_EVENT_DROPOUT_SEED = 1 << 32  # draws of its own, apart from those of negatives


class Negatives(NamedTuple):
    """Items shared as negatives by a batch: `rows [S]` and their sampling probability `[S]`."""

    rows: tf.Tensor
    probability: tf.Tensor


class Batch(NamedTuple):
    """P training queries of a batch of windows `[B, T + 1]`: one for every event that is predicted.

    A replica has its share of the windows, and of the queries; negatives are those of the whole batch.

    Attributes:
      windows: `[B, T + 1]` int32.
      queries: `[P, V, D]` unit query vectors.
      positives: `[P]` int32 rows, what came next.
      negatives: shared by all.
      places: `[P, 2]` int64, row and column of each query's last event in the windows.
      step: of training; None where nothing is to be dropped.
      share: which of the batch's queries these are; None for all of them.
    """

    windows: tf.Tensor
    queries: tf.Tensor
    positives: tf.Tensor
    negatives: Negatives
    places: tf.Tensor
    step: tf.Tensor | None = None
    share: replicas.Share | None = None


class Scores(NamedTuple):
    """What a model makes of a batch.

    Attributes:
      positive: `[P]` score of each query's positive.
      negative: `[P, S]` scores of the shared negatives.
      extra: scalar, added to the loss.
      quantized: what the quantizer made of the queries; None where there is none.
    """

    positive: tf.Tensor
    negative: tf.Tensor
    extra: tf.Tensor
    quantized: Quantized | None = None


def mean_or_zero(values: tf.Tensor) -> tf.Tensor:
    """The mean; 0 of nothing."""
    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(tf.size(values), tf.float32))


def _tail(items: Columns) -> int:
    """Rows at the end of a catalogue that are marked as removed: they are never targets, negatives, or ranked."""
    removed = np.asarray(items[REMOVED]) if REMOVED in items else np.zeros(0, bool)
    return int(np.logical_and.accumulate(removed[::-1]).sum())


class SequenceModel(tfrs.Model):
    """An encoder of histories trained by softmax at every position of a window.

    Subclasses say how query vectors are scored against items (`batch_scores`, `catalogue_scores`).

    Args:
      config: the whole configuration.
      item_counts: `[I]` interactions of each catalogue row in training.
      columns: of the data, among them those that `config.features` declares.

    Raises:
      UserError: a declared column is missing, or not of its kind.
    """

    def __init__(self, config: Config, item_counts: np.ndarray, columns: FeatureColumns = NO_COLUMNS, **kwargs) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.num_items = len(item_counts)
        self.num_targets = self.num_items - _tail(columns.items)
        dim = config.tokenizer.dim
        # One row more than there are items: the start marker.
        self.item_embeddings = self.add_weight(
            name="item_embeddings",
            shape=(self.num_items + 1, dim),
            initializer=tf.keras.initializers.RandomNormal(stddev=dim**-0.5, seed=config.training.seed),
        )
        self.item_bias = self.add_weight(name="item_bias", shape=(self.num_items,), initializer="zeros")
        self.item_features = self._row_features("items", columns.items)
        self.event_features = self._row_features("events", columns.events, columns.event_counts)
        self.user_features = self._row_features("users", columns.users, columns.user_counts)
        with precision.computing_in(config.training.mixed_precision):
            self.tokenizer = make_tokenizer(config.tokenizer, config.data.max_history, self.num_vectors)
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
        self._counts = item_counts[: self.num_targets].astype(np.float32)

    def _row_features(self, place: str, columns: Columns, counts: np.ndarray | None = None) -> RowFeatures | None:
        """The layer of the features declared in a place, fitted on what occurs in training; None where none are."""
        declared = getattr(self.config.features, place)
        if not declared:
            return None
        fitted = fit_features(columns, declared, place, counts)
        # Items are scored again when served; events and users of the data are of no use then.
        table = FeatureTable(fitted.encode(columns), saved=place == "items")
        return RowFeatures(fitted, table, self.config.tokenizer.dim, self.config.training.seed)

    @property
    def num_vectors(self) -> int:
        """V, vectors that the encoder makes of a history."""
        return 1

    @property
    def tail_buckets(self) -> int:
        """Rows after `num_targets`, into which ids without a row are hashed: they only say something in histories."""
        return self.num_items - self.num_targets

    @property
    def members(self) -> tuple[SequenceModel, ...]:
        """The models whose scores are added up: itself; see Ensemble."""
        return (self,)

    @property
    def is_quantized(self) -> bool:
        """Whether the model has codes, sooner or later."""
        return False

    @property
    def steps_done(self) -> int:
        """Steps of training so far, which is also how many batches were seen."""
        return int(self.step.numpy())

    def build_weights(self) -> None:
        """Makes every weight, so that a checkpoint can be restored at once and not when a layer is first called."""
        self.catalogue_scores(tf.constant([[0]]))

    @property
    def start_row(self) -> int:
        """The row after the catalogue's last, which marks where a history begins."""
        return self.num_items

    def item_vectors(self, rows: tf.Tensor, step: tf.Tensor | None = None) -> tf.Tensor:
        """Unit vectors `[..., D]` of rows `[...]`: id and features; in training some items have no id."""
        vectors = self._unless_hidden(tf.nn.embedding_lookup(self.item_embeddings, rows), rows, step)
        if self.item_features is not None:
            vectors += self.item_features(rows)
        return tf.math.l2_normalize(vectors, -1)

    def item_biases(self, rows: tf.Tensor, step: tf.Tensor | None = None) -> tf.Tensor:
        """Biases `[...]` of catalogue rows `[...]`; 0 without an id."""
        return self._unless_hidden(tf.nn.embedding_lookup(self.item_bias, rows), rows, step)

    def shared_items(self, rows: tf.Tensor, step: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """Vectors `[S, D]` and biases `[S]` of rows `[S]` that are scored for every query, on every replica."""
        return replicas.common(self.item_vectors(rows, step)), replicas.common(self.item_biases(rows, step))

    def vectors_from_features(self, columns: Columns) -> tf.Tensor:
        """Unit vectors of items that training has not seen, by their features alone; their bias is 0.

        Args:
          columns: N entries each, with those that `features.items` of the configuration declares.

        Returns:
          `[N, D]`.

        Raises:
          UserError: a declared column is missing, or not of its kind; vectors of another width.
        """
        return tf.math.l2_normalize(self.item_features.of_columns(columns), -1)

    def _unless_hidden(self, values: tf.Tensor, rows: tf.Tensor, step: tf.Tensor | None) -> tf.Tensor:
        """Zeros where the id of a row is hidden at a training step; one step hides the same ids everywhere."""
        rate = self.config.features.id_dropout
        if step is None or not rate:
            return values
        seed = tf.stack([tf.constant(self.config.training.seed + 3, tf.int64), step])
        seen = tf.random.stateless_uniform([self.num_items + 1], seed) >= rate
        # The start marker is no item: it has no features that could stand alone.
        seen = tf.gather(seen | (tf.range(self.num_items + 1) == self.start_row), rows)
        return tf.where(seen if values.shape.rank == rows.shape.rank else seen[..., None], values, 0.0)

    def context_vectors(self, windows: tf.Tensor) -> tf.Tensor | None:
        """What features of events and users add to each event, `[B, T, D]`; None where none are declared."""
        parts = [
            features(rows(windows))
            for features, rows in ((self.event_features, events_of), (self.user_features, users_of))
            if features is not None
        ]
        return tf.add_n(parts) if parts else None

    def query_vectors(
        self, windows: tf.Tensor, step: tf.Tensor | None = None, context: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Unit query vectors after each event.

        Args:
          windows: `[B, T]` int32 rows, right-aligned, -1 is padding; T <= max_history; or `[B, T, 3]` with context.
          step: training step; None at inference.
          context: `[B, T, D]`, of events and users that the data does not hold; None to look it up.

        Returns:
          `[B, T, V, D]`.
        """
        events = with_start(rows_of(windows), self.start_row)
        present = self._kept(events != PADDING, step)
        scale = self.config.tokenizer.dim**0.5
        vectors = self.item_vectors(tf.maximum(events, 0), step)
        context = self.context_vectors(windows) if context is None else context
        if context is not None:
            vectors += context
        vectors *= scale * tf.cast(present, tf.float32)[..., None]
        return tf.math.l2_normalize(tf.cast(self.tokenizer(vectors, present, step), tf.float32), -1)

    def _kept(self, present: tf.Tensor, step: tf.Tensor | None) -> tf.Tensor:
        """`present [B, T]` without the events that event dropout leaves out of a training step."""
        rate = self.config.tokenizer.event_dropout
        if step is None or not rate:
            return present
        seed = tf.stack([tf.constant(self.config.training.seed, tf.int64), step]) + _EVENT_DROPOUT_SEED
        seed = replicas.own_seed(seed)
        return present & (tf.random.stateless_uniform(tf.shape(present), seed) >= rate)

    def last_query_vectors(self, windows: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Unit query vectors `[B, V, D]` of whole histories `[B, T]`; see query_vectors."""
        return self.query_vectors(windows, context=context)[:, -1]

    def windows_of(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        """The last events of histories as this model takes them: `[B, T]`, or `[B, T, 3]` with context."""
        length = self.config.data.max_history
        if not self.config.features.context:
            return pad_histories(histories, length)
        return pad_with_context(histories if isinstance(histories, Histories) else Histories.of(histories), length)

    def sample_negatives(self, positives: tf.Tensor, step: tf.Tensor) -> Negatives:
        """The batch's negatives: a mix of three proposals, or for the full softmax every item once."""
        loss = self.config.loss
        if loss.kind == "full_softmax":
            # S q = 1 for every item: the correction vanishes and the sum is over the whole catalogue.
            return Negatives(tf.range(self.num_targets), tf.fill([self.num_targets], 1.0 / self.num_targets))
        seed = tf.stack([tf.constant(self.config.training.seed, tf.int64), step])
        picks = tf.random.stateless_uniform(
            [loss.in_batch_negatives], seed, 0, tf.maximum(tf.size(positives), 1), tf.int32
        )
        uniform = tf.random.stateless_uniform([loss.uniform_negatives], seed + 1, 0, self.num_targets, tf.int32)
        cumulative = np.cumsum(self._counts, dtype=np.float64)
        draws = tf.random.stateless_uniform([loss.popularity_negatives], seed + 2, 0, cumulative[-1], tf.float64)
        popular = tf.minimum(tf.searchsorted(cumulative, draws, side="right"), self.num_targets - 1)
        # One more, for a batch that has none: all its events are of the tail.
        rows = tf.concat([tf.gather(tf.pad(positives, [[0, 1]]), picks), uniform, popular], 0)
        # The positives of a batch are drawn by popularity too.
        share = 1.0 - loss.uniform_negatives / loss.num_negatives
        popularity = (self._counts / cumulative[-1]).astype(np.float32)
        return Negatives(rows, share * tf.gather(popularity, rows) + (1.0 - share) / self.num_targets)

    def batch_scores(self, batch: Batch) -> Scores:
        """Scores of a batch for its loss."""
        raise NotImplementedError

    def scores_of(self, batch: Batch) -> Scores:
        """Scores of a batch whose queries another model made: this one makes its own, without dropout."""
        queries = tf.gather_nd(self.query_vectors(batch.windows[:, :-1]), batch.places)
        return self.batch_scores(batch._replace(queries=queries, step=None))

    def catalogue_scores(self, windows: tf.Tensor) -> tf.Tensor:
        """Scores `[B, I]` of every item for histories `[B, T]`."""
        raise NotImplementedError

    def compute_loss(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Mean loss over the events of windows `[B, T + 1]`, each predicted from those before it."""
        return self._loss(self._batch(inputs, training))[0]

    def _batch(self, windows: tf.Tensor, training: bool) -> Batch:
        now = self.step.read_value()
        step = now if training else None
        targets = rows_of(windows)[:, 1:]
        valid = (targets != PADDING) & (targets < self.num_targets)
        negatives = self.sample_negatives(tf.boolean_mask(targets, valid), now)
        share = replicas.share(valid)
        windows, targets, valid = (replicas.own_rows(whole) for whole in (windows, targets, valid))
        vectors = self.query_vectors(windows[:, :-1], step)
        # Padding is cut before the dear part.
        positives = tf.boolean_mask(targets, valid)
        queries = tf.boolean_mask(vectors, valid)
        return Batch(windows, queries, positives, negatives, tf.where(valid), step, share)

    def _loss(self, batch: Batch) -> tuple[tf.Tensor, Quantized | None]:
        scores = self.batch_scores(batch)
        loss = self.task(
            scores.positive,
            scores.negative,
            accidental_hits=batch.positives[:, None] == batch.negatives.rows,
            sampling_probability=batch.negatives.probability,
            sample_weight=tf.ones_like(scores.positive),
        )
        return loss + scores.extra, scores.quantized

    @property
    def learning_variables(self) -> list[tf.Variable]:
        """What a step moves, as of when its graph is made. Adam would also move what has a gradient of 0."""
        return self.trainable_variables

    def _maybe_load_initial_counters_from_ckpt(self, steps_per_epoch: int, initial_epoch: int) -> tuple[int, int]:
        """Keras's hook for runs that go on: the epoch, and the step of it that comes next."""
        return initial_epoch, self.steps_done - initial_epoch * steps_per_epoch

    def train_step(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """One gradient step, then one step of the codebooks' moving averages.

        Every replica is given the whole batch and takes its share. A loss is a mean over queries, so with losses
        weighted by shares, and gradients and statistics summed, R replicas move the weights as one alone would.
        """
        with tf.GradientTape() as tape:
            batch = self._batch(inputs, training=True)
            loss, quantized = self._loss(batch)
            weight = 1.0 if batch.share is None else batch.share.weight
            objective = loss if batch.share is None else loss * weight
            if precision.scales_loss(self.optimizer):
                objective = self.optimizer.get_scaled_loss(objective)
        variables = self.learning_variables
        # Before the codebooks exist the interaction may have no part in the loss: its gradients are None.
        gradients = tape.gradient(objective, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        if precision.scales_loss(self.optimizer):
            gradients = self.optimizer.get_unscaled_gradients(gradients)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if quantized is not None:
            self.update_codes(quantized, batch.share)
        self.step.assign_add(1)
        self.loss_metric.update_state(loss, sample_weight=weight)
        return {"loss": self.loss_metric.result()}

    def update_codes(self, quantized: Quantized, share: replicas.Share | None) -> None:
        """Hook for models with codebooks."""

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        """Metrics that Keras resets at every epoch."""
        return [self.loss_metric]
