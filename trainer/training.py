"""The training loop: Keras fit, a k-means start, validation, early stop, and a run that can be resumed."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.checkpoints import Run, Saver
from trainer.codebooks import start_codebooks
from trainer.config import TrainingConfig
from trainer.data.splits import EvaluationQueries
from trainer.evaluation import evaluate
from trainer.layers.tokenizers import PADDING
from trainer.model import SparCode
from trainer.placement import Placement
from trainer.progress import Progress
from trainer.ranking import ModelRanker
from trainer.sequence_model import SequenceModel
from trainer.tensorboard import CodeUse
from trainer.training_data import Batches
from trainer.windows import rows_of

SELECTED_BY = "ndcg@50"
_SHOWN = {"loss": "loss", f"val_{SELECTED_BY}": SELECTED_BY}  # behind the progress bar


@dataclasses.dataclass(frozen=True)
class FitResult:
    """How a run ended: the best validation score, its epoch, and the epochs trained."""

    best_score: float
    best_epoch: int
    epochs: int


class LinearWarmup(tf.keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises linearly to `peak` over `steps` and stays."""

    def __init__(self, peak: float, steps: int) -> None:
        self.peak, self.steps = peak, steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """The rate at a step."""
        done = (tf.cast(step, tf.float32) + 1.0) / max(self.steps, 1)
        return self.peak * tf.minimum(done, 1.0)

    def get_config(self) -> dict[str, float]:
        """Arguments to build it again."""
        return {"peak": self.peak, "steps": self.steps}


class CodebookStart(tf.keras.callbacks.Callback):
    """Places the codewords by k-means over the best unquantised model, once the warm-up is over."""

    def __init__(self, run: Run, batches: Batches, validation: Validation, placement: Placement) -> None:
        super().__init__()
        self.checkpoints, self.state, self.batches, self.placement = run, run.state, batches, placement
        self.validation = validation

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Acts at the first epoch after the warm-up."""
        if bool(self.state.warmed_up) or epoch >= self.model.quantizer.config.warmup_epochs:
            self._start()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Acts if there was no epoch after the warm-up: the codes then are those of k-means alone."""
        self._start()

    def _start(self) -> None:
        quantizer = self.model.quantizer
        if quantizer.is_active:
            return
        step = self.model.steps_done
        self.checkpoints.restore_best()
        self.model.step.assign(step)  # the data and the masks of dropout go on
        quantizer.activate(*(self.placement.agreed(values) for values in self._codebooks()))
        self.model.make_train_function(force=True)  # other weights learn from here on
        self.state.begin_phase()
        # What there is now is the best of what has codes, until an epoch does better.
        self.validation.keep_best(self.validation.metrics()[SELECTED_BY])

    def _codebooks(self) -> tuple[np.ndarray, np.ndarray]:
        """Codewords and how many tokens of a step each stands for; the chief says which."""
        quantizer = self.model.quantizer
        if not self.placement.is_chief:
            return quantizer.codebooks.numpy(), quantizer.counts.numpy()
        vectors, per_step = self._query_vectors()
        codebooks, shares = start_codebooks(vectors, quantizer.config, self.model.config.training.seed)
        tokens_per_slot = quantizer.config.num_query_tokens / quantizer.config.num_slots
        return codebooks, (shares * per_step * tokens_per_slot).astype(np.float32)

    def _query_vectors(self) -> tuple[np.ndarray, float]:
        """Query vectors `[P, V, D]` of a sample of training positions, and how many positions a step has."""
        wanted = 100 * self.model.config.quantizer.num_codewords
        found, count = [], 0
        for batch in self.batches.epoch(0):
            vectors = self.model.query_vectors(tf.constant(batch[:, :-1]))
            found.append(tf.boolean_mask(vectors, rows_of(batch)[:, 1:] != PADDING).numpy())
            count += len(found[-1])
            if count >= wanted:
                break
        return np.concatenate(found), count / len(found)


class Validation(tf.keras.callbacks.Callback):
    """Ranks the validation queries, keeps the best weights, and stops early."""

    def __init__(self, run: Run, queries: EvaluationQueries, config: TrainingConfig, placement: Placement) -> None:
        super().__init__()
        self.state, self.queries, self.training, self.checkpoints = run.state, queries, config, run
        self.placement = placement
        self.ranker: ModelRanker | None = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Evaluates every `validate_every` epochs."""
        self.state.epoch.assign(epoch + 1)
        if (epoch + 1) % self.training.validate_every and epoch + 1 < self.training.epochs:
            return
        metrics = self.metrics()
        logs.update({f"val_{name}": value for name, value in metrics.items()})
        if self.placement.is_chief and self.model.is_quantized and self.model.quantizer.is_active:
            logs.update(code_diagnostics(self.model))
        self.keep_best(metrics[SELECTED_BY])
        if int(self.state.rounds_without_gain) >= self.training.patience:
            self._end_phase()

    def metrics(self) -> dict[str, float]:
        """What the model as it is now comes to; the chief ranks, and what it selects by all know."""
        found = {SELECTED_BY: 0.0}
        if self.placement.is_chief:
            self.ranker = self.ranker or ModelRanker(self.model)
            found = evaluate(self.ranker, self.queries).means()
        return found | {SELECTED_BY: float(self.placement.agreed(found[SELECTED_BY]))}

    def keep_best(self, score: float) -> None:
        """Keeps the model as it is now if it is the best of its phase."""
        if score > float(self.state.best_score):
            self.state.best_score.assign(score)
            self.state.best_epoch.assign(self.state.epoch)
            self.state.rounds_without_gain.assign(0)
            self.checkpoints.save_best()
        else:
            self.state.rounds_without_gain.assign_add(1)

    def _end_phase(self) -> None:
        if self.model.is_quantized and not bool(self.state.warmed_up) and not self.model.quantizer.is_active:
            self.state.warmed_up.assign(True)
        else:
            self.model.stop_training = True


def code_diagnostics(model: SparCode) -> dict[str, float]:
    """Perplexity of each codebook, codes in use, and the share of (code, item) scores that are zero."""
    counts = model.quantizer.counts.numpy()
    shares = counts / counts.sum(-1, keepdims=True)
    perplexity = np.exp(-np.sum(shares * np.log(np.maximum(shares, 1e-12)), -1))
    logs = {f"perplexity/slot_{s}_book_{m}": float(value) for (s, m), value in np.ndenumerate(perplexity)}
    space = model.code_space
    keys = np.linspace(0, space.size - 1, min(space.size, 256)).astype(np.int64)
    scores = model.score_codes(tf.constant(keys), tf.range(model.num_items)) + model.bias
    logs["zero_scores"] = float(tf.reduce_mean(tf.cast(scores <= 0, tf.float32)))
    logs["codes_in_use"] = float(np.count_nonzero(counts >= 0.1 * counts.mean(-1, keepdims=True)))
    return logs


def compile_model(model: SequenceModel) -> None:
    """Gives the model its optimizer: Adam, or AdamW where there is weight decay; gradients clipped by norm.

    With float16 it scales the loss too, and leaves out steps whose gradients are not finite.
    """
    config = model.config.training
    rate = LinearWarmup(config.learning_rate, config.warmup_steps)
    if config.weight_decay:
        optimizer = tf.keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, global_clipnorm=5.0)
    else:
        optimizer = tf.keras.optimizers.Adam(rate, global_clipnorm=5.0)
    if config.mixed_precision == "float16":
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    model.compile(optimizer=optimizer)
    model.build_weights()
    optimizer.build(model.trainable_variables)


def fit(
    model: SequenceModel,
    batches: Batches,
    validation: EvaluationQueries,
    job_dir: pathlib.Path,
    label: str,
    watch: Sequence[tf.keras.callbacks.Callback] = (),
    placement: Placement | None = None,
) -> FitResult:
    """Trains `model`, resuming what `job_dir` holds, and leaves the best weights in it.

    Args:
      model: made in the placement's scope, not compiled.
      batches: of training windows, in an order of the model's seed.
      validation: queries that choose the best epoch.
      job_dir: gets `checkpoints/` and `logs/`.
      label: of the progress bar.
      watch: further callbacks, which see what validation came to before a checkpoint holds it.
      placement: where to train; None for the one device there is.
    """
    config, placement = model.config.training, placement or Placement()
    with placement.scope():
        compile_model(model)
    run = Run(model, job_dir, placement)
    run.resume()
    epoch = int(run.state.epoch)
    if not bool(run.state.finished):
        steps = config.steps_per_epoch or batches.steps
        validate = Validation(run, validation, config, placement)
        callbacks = [validate]
        if model.is_quantized:
            callbacks.insert(0, CodebookStart(run, batches, validate, placement))
        if placement.is_chief:
            callbacks.append(Progress(label, epoch, config.epochs, steps, _SHOWN))
            if model.is_quantized:
                callbacks.append(CodeUse(job_dir / "logs"))
            callbacks.append(tf.keras.callbacks.TensorBoard(str(job_dir / "logs"), write_graph=False))
            callbacks += watch
        callbacks.append(Saver(run, config, placement))
        model.fit(
            placement.feed(batches, model.steps_done, config.epochs),
            steps_per_epoch=steps,
            initial_epoch=epoch,
            epochs=config.epochs,
            callbacks=callbacks,
            verbose=0,
        )
    run.restore_best()
    return FitResult(float(run.state.best_score), int(run.state.best_epoch), int(run.state.epoch))
