"""Keras 2 for the whole trainer: the one place where `TF_USE_LEGACY_KERAS` is set.

TensorFlow Recommenders refuses Keras 3. TensorFlow chooses between the two from the environment,
once in a process, so the choice must stand before TensorFlow is imported.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "TF_USE_LEGACY_KERAS"
_YES = ("1", "true", "True")  # the values TensorFlow itself takes for yes


class LegacyKerasError(ImportError):
    """The trainer cannot be imported here: TensorFlow would run, or already runs, with Keras 3."""


def require_legacy_keras() -> None:
    """Makes `tf.keras` Keras 2 in this process.

    Raises:
      LegacyKerasError: TensorFlow was imported before without the variable, or the variable is set
        to a value that asks for Keras 3.
    """
    value = os.environ.get(VARIABLE)
    if value not in (None, *_YES):
        raise LegacyKerasError(
            f"the environment sets {VARIABLE}={value!r}, which asks for Keras 3, but sparcode's trainer needs Keras 2:"
            f" unset {VARIABLE} or set it to 1"
        )
    if value is None and "tensorflow" in sys.modules:
        raise LegacyKerasError(
            f"tensorflow was imported before sparcode's trainer and without {VARIABLE}=1, so this process has Keras 3:"
            f" put `import trainer` before the first `import tensorflow`, or set {VARIABLE}=1 in the environment"
        )
    os.environ[VARIABLE] = "1"
