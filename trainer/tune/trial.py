"""One training of a search, in whichever process, and how a hopeless one is found and ended."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import time
import warnings

import optuna
import tensorflow as tf

from protos.errors import UserError
from trainer import task
from trainer.config import Config
from trainer.data import load
from trainer.data.prepared import is_prepared
from trainer.data.splits import split
from trainer.split_data import SplitData
from trainer.training import SELECTED_BY
from trainer.training_data import TrainingData
from trainer.tune.store import Store

# A trial is ended whose best epoch so far is below the median of the others at this one: not before its fourth epoch,
# and not before so many others have come to their end, or as far.
PRUNER = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=4, n_min_trials=4)


@dataclasses.dataclass(frozen=True)
class Work:
    """A training to be done.

    Attributes:
      source: of the data, as `trainer.data.load` takes it.
      model: one of trainer.task.MODELS.
      config: of this training.
      job_dir: where it runs; what is there of it already, it goes on from.
      search: the directory of the search.
      trial_id: Optuna's, of the trial that may be ended early; None for one that may not.
    """

    source: str
    model: str
    config: Config
    job_dir: pathlib.Path
    search: pathlib.Path
    trial_id: int | None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
      score: NDCG@50 on validation; None of one that was pruned or failed.
      epochs: trained; 0 where that is not known.
      seconds: wall time of this call: what was trained before a kill does not count.
      reason: why it failed; "" if it did not.
      pruned: whether it was ended early.
    """

    score: float | None
    epochs: int
    seconds: float
    reason: str = ""
    pruned: bool = False


@functools.cache
def data(source: str, method: str) -> TrainingData:
    """Data to search on, read once a process. Test events that are read are dropped here: nothing can look at them."""
    if is_prepared(source):
        return task.read_prepared_data(source, method)
    return SplitData(dataclasses.replace(split(load(source), method), test=[]))


def run(work: Work) -> Outcome:
    """Trains, and says how it ended. A configuration with which training breaks down fails by itself."""
    start = time.perf_counter()
    events = data(work.source, work.config.data.split)
    watch = [] if work.trial_id is None else [Pruning(work.search, work.trial_id)]
    try:
        trained = task.train(events, work.config, work.job_dir, task.MODELS[work.model], watch)
    except optuna.TrialPruned:
        return Outcome(None, watch[0].epoch, time.perf_counter() - start, pruned=True)
    # Scores that are not numbers, a configuration that does not suit the data, too little memory on a device.
    except (UserError, ValueError, ArithmeticError, MemoryError, tf.errors.OpError) as error:
        return Outcome(None, 0, time.perf_counter() - start, reason=str(error).split("\n")[0][:300] or repr(error))
    finally:
        tf.keras.backend.clear_session()
    epochs = sum(result.epochs for result in trained.results)
    return Outcome(trained.score, epochs, time.perf_counter() - start)


class Pruning(tf.keras.callbacks.Callback):
    """Reports validation to the search epoch by epoch, and ends a trial that the pruner gives up.

    Only tokens before quantisation are compared: k-means places the codewords at an epoch that is each trial's own,
    and scores fall there, so at equal epochs the scores of one trial with codes and another without say nothing.
    The encoder is what it is by then, and a trial that has come so far ends by itself.

    Args:
      search: directory of the search.
      trial_id: Optuna's.
    """

    def __init__(self, search: pathlib.Path, trial_id: int) -> None:
        super().__init__()
        self.trial = optuna.trial.Trial(Store(search).study(PRUNER), trial_id)
        self.epoch = 0

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Raises TrialPruned where the trial is given up."""
        self.epoch = epoch + 1
        score = (logs or {}).get(f"val_{SELECTED_BY}")
        if score is None or (self.model.is_quantized and bool(self.model.quantizer.active)):
            return
        with warnings.catch_warnings():  # an epoch that is trained again after a kill was reported before
            warnings.simplefilter("ignore")
            self.trial.report(float(score), self.epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned
