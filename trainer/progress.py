"""Progress of a training, for whoever waits."""

from __future__ import annotations

import tensorflow as tf
from tqdm import tqdm

from protos.progress import bar


class Progress(tf.keras.callbacks.Callback):
    """A bar over epochs with one over the steps of the epoch below it; without a terminal, a line now and then.

    Args:
      label: what is trained.
      start: epochs that were trained before.
      total: most epochs.
      steps: of an epoch.
      shown: metrics behind the bar: the name in Keras' logs, and the name that is shown.
    """

    def __init__(self, label: str, start: int, total: int, steps: int, shown: dict[str, str]) -> None:
        super().__init__()
        self._supports_tf_logs = True  # it reads nothing of a step, which therefore need not wait for its loss
        self._epochs = bar(total, label, "epoch", initial=start)
        self._steps, self._shown = steps, shown
        self._of_epoch: tqdm | None = None
        self._values: dict[str, str] = {}

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Begins the bar of an epoch."""
        self._of_epoch = bar(self._steps, f"epoch {epoch + 1}", "step", leave=False)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Moves the bar of the epoch."""
        if self._of_epoch is not None:
            self._of_epoch.update()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Moves the bar of epochs."""
        if self._of_epoch is not None:
            self._of_epoch.close()
        known = logs or {}
        self._values |= {short: f"{float(known[name]):.4f}" for name, short in self._shown.items() if name in known}
        self._epochs.set_postfix(self._values, refresh=False)
        self._epochs.update()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Closes the bars."""
        self._epochs.close()
