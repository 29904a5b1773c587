"""Learns the codes and the scorer, and exports them: interactions in, `run/export` out.

Importing this package chooses Keras 2 for the process, so import it before TensorFlow.
"""

import os

from trainer._legacy_keras import require_legacy_keras

require_legacy_keras()
# TensorFlow's start-up notes, an "error" on every machine without a GPU among them, bury what the trainer says;
# set the variable to 0 to read them. What fails still raises.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
