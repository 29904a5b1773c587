"""The checkpoints of a run: what it resumes from, and the best weights of each of its phases."""

from __future__ import annotations

import pathlib
import tempfile

import tensorflow as tf

from trainer.config import TrainingConfig
from trainer.placement import Placement
from trainer.sequence_model import SequenceModel

_DIRECTORY = "checkpoints"
_BEST, _WARM_UP = "best", "warm_up"


class RunState(tf.Module):
    """What a run must remember beside its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = tf.Variable(0, dtype=tf.int64)
        self.best_score = tf.Variable(-1.0, dtype=tf.float64)
        self.best_epoch = tf.Variable(0, dtype=tf.int64)
        self.rounds_without_gain = tf.Variable(0, dtype=tf.int64)
        self.warmed_up = tf.Variable(False)
        self.finished = tf.Variable(False)

    def begin_phase(self) -> None:
        """Forgets the scores of the phase before, which were of another model."""
        self.best_score.assign(-1.0)
        self.rounds_without_gain.assign(0)


class Run:
    """The checkpoints of one job directory: the newest state to resume from, and the best weights of each phase.

    The chief's are those of the run. Other processes write theirs where nobody reads: a metric of several replicas is
    summed up when it is saved, in which all take part.

    Args:
      model: compiled.
      job_dir: all processes share it.
      placement: where the model is.
    """

    def __init__(self, model: SequenceModel, job_dir: pathlib.Path, placement: Placement) -> None:
        self.model, self.state, self._placement = model, RunState(), placement
        self._directory = job_dir / _DIRECTORY
        self._elsewhere = None if placement.is_chief else tempfile.TemporaryDirectory()
        written = self._directory if self._elsewhere is None else pathlib.Path(self._elsewhere.name)
        self._everything = tf.train.Checkpoint(model=model, optimizer=model.optimizer, state=self.state)
        self._latest = tf.train.CheckpointManager(self._everything, str(written), max_to_keep=2)
        weights = tf.train.Checkpoint(model=model)
        self._of_phase = {
            name: tf.train.CheckpointManager(weights, str(written / name), max_to_keep=1) for name in (_WARM_UP, _BEST)
        }

    @property
    def _phase(self) -> str:
        # One for each phase: a run that is killed in the second may have to begin it again from the best of the first.
        return _WARM_UP if self.model.is_quantized and not self.model.quantizer.is_active else _BEST

    def resume(self) -> bool:
        """Restores the newest checkpoint; False when there is none."""
        latest = tf.train.latest_checkpoint(str(self._directory))
        if latest is not None:
            self._everything.restore(latest)
        return latest is not None

    def save(self) -> None:
        """Writes the state to resume from."""
        self._latest.save(checkpoint_number=self.model.steps_done)
        self._placement.meet()  # and nobody reads before the chief has written

    def save_best(self) -> None:
        """Writes the weights as the best of this phase so far."""
        self._of_phase[self._phase].save()
        self._placement.meet()

    def restore_best(self) -> None:
        """Puts the best weights of this phase back into the model."""
        _restore_weights(self.model, self._directory / self._phase)


class Saver(tf.keras.callbacks.Callback):
    """Writes checkpoints; the last callback, so that a checkpoint holds the epoch's whole outcome.

    A run goes on with the batch after its last checkpoint, be it the first of an epoch or not.
    """

    def __init__(self, run: Run, config: TrainingConfig, placement: Placement) -> None:
        super().__init__()
        self._supports_tf_logs = True  # it reads nothing of a step
        self.checkpoints, self.training = run, config
        self._asynchronous = placement.is_asynchronous

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Remembers the mean loss so far of an epoch that a checkpoint was written in: Keras forgets it."""
        self._so_far = [variable.numpy() for variable in self.model.loss_metric.variables]

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Goes on with that mean."""
        if self.model.steps_done % self.params["steps"]:
            for variable, value in zip(self.model.loss_metric.variables, self._so_far, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Saves every `checkpoint_steps` steps, but for the last of an epoch, which is not over yet."""
        every = 0 if self._asynchronous else self.training.checkpoint_steps
        if every and batch + 1 < self.params["steps"] and self.checkpoints.model.steps_done % every == 0:
            self.checkpoints.save()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Saves every `checkpoint_every` epochs."""
        if self._asynchronous:  # a step that was lost with its worker is done again, and may have been counted
            self.model.step.assign((epoch + 1) * self.params["steps"])
        if (epoch + 1) % self.training.checkpoint_every == 0:
            self.checkpoints.save()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Saves the end, so that the same command again trains no further."""
        self.checkpoints.state.finished.assign(True)
        self.checkpoints.save()


def has_checkpoint(job_dir: pathlib.Path) -> bool:
    """Whether there is a run to resume."""
    return tf.train.latest_checkpoint(str(job_dir / _DIRECTORY)) is not None


def restore_best(model: SequenceModel, job_dir: pathlib.Path) -> None:
    """Puts the best weights of a run that is over into a model made elsewhere of the same configuration."""
    model.build_weights()
    _restore_weights(model, job_dir / _DIRECTORY / _BEST)


def _restore_weights(model: SequenceModel, directory: pathlib.Path) -> None:
    latest = tf.train.latest_checkpoint(str(directory))
    if latest is not None:
        # These checkpoints hold no optimizer, and of a model that is not compiled nobody asks for the metrics.
        tf.train.Checkpoint(model=model).restore(latest).expect_partial()
